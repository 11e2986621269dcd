"""`mapreduce run` as a user meets it: processes, pipes, exit codes, signals."""

from __future__ import annotations

import collections
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMEOUT_S = 60
COMMAND = [sys.executable, "-m", "mapreduce"]
TEXT = "to be or not to be\nthat is the question\n"
COUNTS = dict(collections.Counter(TEXT.split()))
FAILING = """
def mapper(line, *, bad: str = "question"):
    print("looking at", line)
    if bad in line:
        raise ValueError("no questions, please")
    for word in line.split():
        yield word, 1


def reducer(word, counts):
    yield word, sum(counts)
"""
SLOW = """
import time


def mapper(line):
    print("mapping", flush=True)
    time.sleep(120)
    yield line, 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of a user, with its own place for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAPREDUCE_COORDINATOR", raising=False)
    Path("text.txt").write_text(TEXT)
    Path("failing.py").write_text(FAILING)
    Path("slow.py").write_text(SLOW)
    return tmp_path


def mapreduce(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )


def parse(tsv):
    return {key: int(value) for key, value in (line.split("\t") for line in tsv.splitlines())}


def leftovers(folder):
    return sorted(path.name for path in (folder / "tmp").iterdir())


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
    done = mapreduce("run", "@word_count", "-", input=TEXT)
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


def test_a_failing_job_shows_the_users_line_and_leaves_nothing(here):
    """Exit code 1; the user's traceback with its source line first, then function, place and record."""
    failed = mapreduce("run", "failing.py", "text.txt", "-o", "out")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert 'raise ValueError("no questions, please")' in failed.stderr
    assert "function: mapper (failing.py:2)" in failed.stderr
    assert "text.txt, byte 19" in failed.stderr
    assert "record: 'that is the question'" in failed.stderr
    assert "mapreduce/" not in failed.stderr.partition("ValueError: no questions")[0]
    assert not Path("out").exists()
    assert leftovers(here) == []


def test_what_functions_print_goes_to_stderr(here):
    """Prints are for people; stdout has the records alone."""
    for runner in ("local", "inline"):
        done = mapreduce("run", "failing.py", "text.txt", "-p", "bad=zebra", "-r", runner)
        assert done.returncode == 0, done.stderr
        assert "looking at to be or not to be" in done.stderr
        assert parse(done.stdout) == COUNTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py", "text.txt"], "missing.py does not exist"),
        (["@word_cuont", "text.txt"], "did you mean @word_count?"),
        (["failing.py", "nowhere.txt"], "no such input: nowhere.txt"),
        (["failing.py", "*.nothing"], "no input matches"),
        (["failing.py", "text.txt", "-p", "badd=1"], "did you mean 'bad'?"),
        (["failing.py", "text.txt", "-p", "bad"], "-p NAME=VALUE"),
        (["failing.py", "text.txt", "-p", "bad=1", "-p", "bad=2"], "given twice"),
        (["failing.py", "text.txt", "--split-size", "16 parsecs"], "16MB"),
        (["failing.py", "text.txt", "-o", "full"], "precious.txt): name another folder"),
        (["failing.py", "text.txt", "-o", ""], "name a folder"),
        (["failing.py", "text.txt", "--reducers", "10001"], "10,000"),
        (["failing.py", "text.txt", "full", "-o", "full"], "outside of the inputs"),
        (["failing.py", "-", "-"], "once only"),
        (["failing.py"], "INPUT"),
        (["failing.py", "text.txt", "-j", "0"], "--slots"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_to_do(here, arguments, message):
    """What cannot be started is told in one message, without a traceback, and nothing is left."""
    Path("full").mkdir()
    Path("full/precious.txt").write_text("mine")
    refused = mapreduce("run", *arguments, stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert Path("full/precious.txt").read_text() == "mine"
    assert leftovers(here) == []


def test_overwrite_replaces_a_former_output(here):
    """--overwrite swaps the output of an earlier job for the new one."""
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out").returncode == 0
    Path("text.txt").write_text("new words\n")
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out").returncode == 2
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out", "--overwrite").returncode == 0
    (part,) = Path("out").glob("part-*")
    assert parse(part.read_text()) == {"new": 1, "words": 1}


def processes_of(folder):
    """Processes whose command line or environment speaks of the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in text:
                found.append(int(entry.name))
    return found


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def start_slow(*options):
    process = subprocess.Popen(
        [*COMMAND, "run", "slow.py", "text.txt", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "mapping\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_everything_within_two_seconds(here, number, code):
    """Ctrl-C leaves no process, no socket, no temporary folder and no half-written output."""
    process = start_slow("-o", "out")
    assert Path("out").exists()
    started_s = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - started_s < 2.5
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not Path("out").exists()
    assert leftovers(here) == []
    wait_until(lambda: processes_of(here) == [])


def test_a_second_interrupt_does_not_break_the_cleaning(here):
    """Impatience leaves nothing behind either."""
    process = start_slow("-o", "out")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert not Path("out").exists()
    assert leftovers(here) == []


def test_a_killed_client_leaves_no_process(here):
    """Everything that it started notices its death and exits."""
    process = start_slow()
    assert len(processes_of(here)) > 1
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    wait_until(lambda: processes_of(here) == [])


def test_the_debugger_opens_at_the_users_line(here):
    """--pdb stands in the user's function, with its variables."""
    stopped = mapreduce("run", "failing.py", "text.txt", "--pdb", input="p 'line is ' + line\nq\n")
    assert stopped.returncode == 1
    assert '-> raise ValueError("no questions, please")' in stopped.stdout
    assert "'line is that is the question'" in stopped.stdout
    assert stopped.stderr.count("no questions, please") == 2  # source line and exception: told once


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


def test_a_full_disk_behind_stdout_is_told(here):
    """Results that cannot be written end the command with 1 and one line, not a traceback."""
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            [*COMMAND, "run", "@word_count", "text.txt"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (failed.returncode, failed.stderr) == (1, "standard output cannot be written: No space left on device\n")
    assert leftovers(here) == []


@pytest.mark.parametrize(
    ("closed", "code", "message"),
    [("<&-", 2, "standard input cannot be"), (">&-", 1, "standard output cannot be written"), ("2>&-", 0, "")],
)
def test_closed_standard_streams_are_no_accident(here, closed, code, message):
    """A stream that is closed is told where it is needed, and missed nowhere else; no socket takes its number."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "run", "@word_count", "-"],
        capture_output=True,
        text=True,
        input=TEXT,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "" if code else parse(done.stdout) == COUNTS
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
    assert "warning: the inputs hold no file" in done.stderr


def test_an_output_inside_the_input_is_not_read_as_input(here):
    """Replacing an output below the input folder is refused, for it would count the former results as text."""
    Path("texts").mkdir()
    Path("texts/text.txt").write_text(TEXT)
    assert mapreduce("run", "@word_count", "texts", "-o", "texts/out").returncode == 0
    again = mapreduce("run", "@word_count", "texts", "-o", "texts/out", "--overwrite")
    assert again.returncode == 2
    assert "part-00000 lies in the output folder" in again.stderr


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
