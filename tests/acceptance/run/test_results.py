"""`mapreduce run` as a user meets it: files, pipes, terminals, programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from run_command import COMMAND, COUNTS, FAILING, TEXT, TIMEOUT_S, leftovers, mapreduce, parse


def test_results_go_to_stdout_and_the_summary_to_stderr(here):
    """Without -o a pipe gets all records and nothing else; nothing is left on disk."""
    done = mapreduce("run", "@word_count", "text.txt")
    assert done.returncode == 0, done.stderr
    assert parse(done.stdout) == COUNTS
    assert "word_count: done in" in done.stderr
    assert leftovers(here) == []


def test_an_output_folder_gets_parts_and_a_manifest(here):
    """With -o the records lie in the folder, the summary names it, and stdout stays empty."""
    done = mapreduce("run", "@word_count", "text.txt", "-o", "out", "--reducers", "2")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["_SUCCESS", "_job.json", "part-00000", "part-00001"]
    assert parse("".join(path.read_text() for path in sorted(Path("out").glob("part-*")))) == COUNTS
    assert "output: out" in done.stderr
    assert sorted(json.loads(Path("out/_job.json").read_text())) == ["committed", "job"]
    assert leftovers(here) == []


def test_local_and_inline_write_the_same_bytes(here):
    """The runner changes nothing: parts and manifest are equal."""
    for runner in ("local", "inline"):
        done = mapreduce("run", "@inverted_index", "text.txt", "-r", runner, "-o", runner, "--reducers", "3")
        assert done.returncode == 0, done.stderr
    for path in Path("local").iterdir():
        if path.name != "_job.json":
            assert path.read_bytes() == (Path("inline") / path.name).read_bytes()


def test_standard_input_is_read(here):
    """A dash reads what is piped in."""
    done = mapreduce("run", "@word_count", "-", stdin=TEXT)
    assert done.returncode == 0, done.stderr
    assert parse(done.stdout) == COUNTS
    assert leftovers(here) == []


def test_a_reader_that_has_had_enough_ends_the_command_quietly(here):
    """`| head` gives no traceback and leaves nothing."""
    Path("many.txt").write_text("\n".join(f"word{number}" for number in range(300_000)))
    writer = subprocess.Popen(
        [*COMMAND, "run", "@word_count", "many.txt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    reader = subprocess.Popen(["head", "-1"], stdin=writer.stdout, stdout=subprocess.PIPE)
    writer.stdout.close()
    first, _ = reader.communicate(timeout=TIMEOUT_S)
    errors = writer.stderr.read().decode()
    writer.stderr.close()
    writer.wait(TIMEOUT_S)
    assert first == b"word0\t1\n"
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    assert writer.returncode == 0
    assert leftovers(here) == []


def test_a_terminal_sees_the_first_fifty_records(here):
    """On a terminal the rest is counted, not printed."""
    Path("many.txt").write_text("\n".join(f"word{number:03}" for number in range(60)))
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", "@word_count", "many.txt"], stdout=terminal, stderr=subprocess.DEVNULL
    ) as process:
        os.close(terminal)
        seen = b""
        while piece := _read(controller):
            seen += piece
        assert process.wait(TIMEOUT_S) == 0
    os.close(controller)
    lines = seen.decode().splitlines()
    assert lines[0] == "word000\t1"
    assert lines[49] == "word049\t1"
    assert lines[50].startswith("… 10 more")


def _read(controller):
    try:
        return os.read(controller, 65536)
    except OSError:  # the other side is closed: Linux's way of saying end of file
        return b""


def test_a_terminal_gets_a_live_display_that_is_wiped(here):
    """The display on a terminal is redrawn in place, and gone before the summary."""
    Path("waiting.py").write_text("import time\n\ndef mapper(line):\n    time.sleep(2)\n    yield line, 1\n")
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", "waiting.py", "text.txt"], stdout=subprocess.DEVNULL, stderr=terminal
    ) as process:
        os.close(terminal)
        seen = b""
        while piece := _read(controller):
            seen += piece
        assert process.wait(TIMEOUT_S) == 0
    os.close(controller)
    display, summary = seen.decode().rsplit("\r\x1b[K", 1)
    assert "map 0/1" in display
    assert summary.startswith("waiting: done in")


def test_what_functions_print_goes_to_stderr(here):
    """Prints are for people; stdout has the records alone."""
    for runner in ("local", "inline"):
        done = mapreduce("run", "failing.py", "text.txt", "-p", "bad=zebra", "-r", runner)
        assert done.returncode == 0, done.stderr
        assert "looking at to be or not to be" in done.stderr
        assert parse(done.stdout) == COUNTS


def test_overwrite_replaces_a_former_output(here):
    """--overwrite swaps the output of an earlier job for the new one."""
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out").returncode == 0
    Path("text.txt").write_text("new words\n")
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out").returncode == 2
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out", "--overwrite").returncode == 0
    (part,) = Path("out").glob("part-*")
    assert parse(part.read_text()) == {"new": 1, "words": 1}


def test_a_module_that_ends_in_main_is_a_program(here):
    """`python my_job.py INPUT...` runs it; importing it does nothing."""
    Path("my_job.py").write_text(FAILING + "\n\nimport mapreduce\n\nmapreduce.main()\n")
    done = subprocess.run(
        [sys.executable, "my_job.py", "text.txt", "-p", "bad=zebra"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert parse(done.stdout) == COUNTS
    usage = subprocess.run(
        [sys.executable, "my_job.py"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert usage.returncode == 2
    assert "python my_job.py" in usage.stderr


def test_a_script_without_a_main_guard_works(here):
    """A script that calls `run` at its top level, with its own functions, is run once."""
    Path("script.py").write_text(
        "import mapreduce\n\n"
        "def mapper(line):\n    for word in line.split():\n        yield word, 1\n\n"
        "print('once')\n"
        "result = mapreduce.run(mapreduce.Job(mapper, reducer=mapreduce.Sum()), 'text.txt')\n"
        "print(sorted(dict(result).items()))\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"once\n{sorted(COUNTS.items())}\n"
    assert leftovers(here) == []


def test_what_a_module_prints_when_it_is_imported_is_no_result(here):
    """Only records go to stdout, wherever the module was imported."""
    Path("noisy.py").write_text("print('loading')\n" + FAILING)
    for runner in ("local", "inline"):
        done = mapreduce("run", "noisy.py", "text.txt", "-p", "bad=zebra", "-r", runner)
        assert done.returncode == 0, done.stderr
        assert "loading" in done.stderr
        assert parse(done.stdout) == COUNTS


def test_an_empty_folder_is_worth_a_warning(here):
    """A job over no file at all is done, and says that it found none."""
    Path("empty/.hidden").mkdir(parents=True)
    done = mapreduce("run", "@word_count", "empty", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "warning: nothing was read: there is no file in the input" in done.stderr


def test_a_job_that_takes_long_to_import_shows_that_it_starts(here):
    """A terminal is not left blank while the job's module is imported."""
    Path("heavy.py").write_text("import time\n\ntime.sleep(1)\n\ndef mapper(line):\n    yield line, 1\n")
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", "heavy.py", "text.txt"], stdout=subprocess.DEVNULL, stderr=terminal
    ) as process:
        os.close(terminal)
        seen = b""
        while piece := _read(controller):
            seen += piece
        assert process.wait(TIMEOUT_S) == 0
    os.close(controller)
    assert seen.startswith(b"\r\x1b[Kstarting")
