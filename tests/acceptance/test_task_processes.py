"""What user code may rely on in the processes that run it, and what it cannot break."""

import os
import signal
from collections import Counter
from pathlib import Path

import gated
import pytest
from background import Background
from cluster import Cluster, children_of, mapreduce, wait_for
from reference import bytes_of

CACHED = """
import functools, os
from pathlib import Path

@functools.cache
def model(folder):
    with (Path(folder) / f"loaded-{os.getpid()}").open("a") as file:
        file.write("once\\n")
    return str.upper

def mapper(line, *, folder: str, ctx):
    (Path(folder) / f"task-{ctx.index}-{os.getpid()}").touch()
    yield model(folder)(line), 1
"""
CHANCE = """
def mapper(line, *, ctx):
    if ctx.random.random() < 0.5:
        yield line[0], ctx.random.randrange(1 << 60)

def reducer(key, values, *, ctx):
    yield key, sum(values) + ctx.random.randrange(1 << 60)
"""
CHATTY = """
import os, sys

def mapper(line):
    print("mapper says", line)
    os.write(1, b"written to descriptor 1\\n")
    yield line, 1

def reducer(key, values):
    print("reducer says", key, file=sys.stderr)
    yield key, sum(values)
"""
LINES = 24
SLOTS = 3  # of the cluster that tests share


@pytest.fixture
def lines(tmp_path):
    """A file of short lines, each of which is a split with --split-size 7."""
    path = tmp_path / "in.txt"
    path.write_text("".join(f"line{number:02}\n" for number in range(LINES)), encoding="utf-8")
    return path


def test_what_is_cached_is_loaded_once_in_each_task_process(lines, tmp_path):
    """24 tasks on two slots run in a few processes, each of which called its cached loader exactly once."""
    marks = tmp_path / "marks"
    marks.mkdir()
    (tmp_path / "job.py").write_text(CACHED, encoding="utf-8")
    command = ["run", "job.py", "in.txt", "-p", f"folder={marks}", "--split-size", "7", "-j", 2]
    done = mapreduce(*command, cwd=tmp_path)
    assert done.stdout == "".join(f"LINE{number:02}\t1\n" for number in range(LINES))
    tasks = Counter(path.name.rpartition("-")[2] for path in marks.glob("task-*"))
    assert tasks.total() == LINES
    assert 1 <= len(tasks) <= 2, "processes are used again"
    loaded = {path.name.rpartition("-")[2]: path.read_text() for path in marks.glob("loaded-*")}
    assert loaded == dict.fromkeys(tasks, "once\n")


def test_chance_is_the_same_everywhere(lines, cluster, tmp_path):
    """Numbers from ctx.random do not depend on runner, slots or run."""
    job = tmp_path / "job.py"
    job.write_text(CHANCE, encoding="utf-8")
    seen = []
    for number, command in enumerate((["run", "-r", "inline"], ["run", "-j", 1], ["run", "-j", 3], ["submit"])):
        output = tmp_path / str(number)
        options = ["--split-size", "30", "--reducers", 2, "-o", output]
        mapreduce(*command, job, lines, *options, MAPREDUCE_COORDINATOR=cluster.address)
        seen.append(bytes_of(output))
    assert all(other == seen[0] for other in seen[1:])
    assert any(content for name, content in seen[0].items() if name.startswith("part-"))


def test_what_user_code_prints_is_log_and_never_result(lines, cluster, tmp_path):
    """print, and bytes written to descriptor 1, go to stderr of `run` and to `logs` of a cluster's job."""
    (tmp_path / "job.py").write_text(CHATTY, encoding="utf-8")
    expected = "".join(f"line{number:02}\t1\n" for number in range(LINES))
    said = {f"{who} says line{number:02}" for who in ("mapper", "reducer") for number in range(LINES)}
    done = mapreduce("run", "job.py", "in.txt", cwd=tmp_path)
    assert done.stdout == expected
    assert said <= set(done.stderr.split("\n"))
    assert done.stderr.count("written to descriptor 1") == LINES
    job = cluster.run("submit", tmp_path / "job.py", lines, "-o", tmp_path / "out", "--detach").stdout.strip()
    wait_for(lambda: cluster.status(job).state == "done", "the job is done")
    assert (tmp_path / "out" / "part-00000").read_text() == expected
    logs = cluster.run("logs", job).stdout
    assert said <= set(logs.split("\n"))
    assert logs.count("written to descriptor 1") == LINES


@pytest.mark.parametrize("stage", ["end", "reduce"])
def test_counters_are_exact_whatever_dies(stage, tmp_path):
    """With a task process killed at its last line, or an agent that holds committed maps, each line counts once."""
    gate = tmp_path / "gate"
    gate.mkdir()
    (gate / f"hold-{stage}").touch()
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(3):
        words = "\n".join(f"word{i}" for i in range(100 + number))
        (texts / f"{number}.txt").write_text(f"{words}\ngate end{number}" if number else f"{words}\ngate end")
    expected = {"lines": sum(len(path.read_text().split("\n")) for path in texts.iterdir())}

    def marks(others=()):
        return [p for p in gate.glob(f"{stage}.*") if p.name not in others]

    with Cluster(tmp_path) as cluster:
        workers = [cluster.start_worker(slots=1), cluster.start_worker(slots=1)]
        command = ["submit", gated.__file__, texts, "-o", tmp_path / "out", "-p", f"gate={gate}", "--split-size", 800]
        with Background(tmp_path / "log", *command, MAPREDUCE_COORDINATOR=cluster.address) as client:
            (mark,) = wait_for(marks, "a task at the gate")
            victim = int(mark.suffix[1:])
            if stage == "end":
                os.kill(victim, signal.SIGKILL)
            else:
                for worker in workers:
                    if victim in children_of(worker.pid):
                        worker.kill()
            wait_for(lambda: marks({mark.name}), "the task's next attempt")
            (gate / f"hold-{stage}").unlink()
            said = client.finish()
        status = cluster.json("status", "last")
    assert status["counters"] == expected
    assert status["records_in"] == expected["lines"]
    assert f"lines = {expected['lines']}" in said
    assert Path(tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize(("ending", "told"), [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "SIGKILL")])
def test_a_process_that_dies_is_told_with_its_last_words(ending, told, lines, tmp_path):
    """A task that kills its process each time: it is told how it died, its last output and its input."""
    (tmp_path / "job.py").write_text(
        "import os\n\ndef mapper(line):\n    if line == 'line13':\n        print('last words')\n"
        f"        {ending}\n    yield line, 1\n",
        encoding="utf-8",
    )
    done = mapreduce("run", "job.py", "in.txt", "-o", "out", "--split-size", "60", cwd=tmp_path, check=False)
    assert done.returncode == 1
    for text in (told, "last words", "in.txt", "map "):
        assert text in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "submit"])
@pytest.mark.parametrize("change", ["appended to", "replaced", "removed"])
def test_an_input_that_changes_during_its_job_ends_it(command, change, cluster, tmp_path):
    """A file that is not what was planned when its task comes to it is named, and no output is left."""
    texts, gate = tmp_path / "texts", tmp_path / "gate"
    texts.mkdir()
    gate.mkdir()
    (gate / "hold-first").touch()
    padding = "some words\n" * 50  # a file is a split
    for number in range(SLOTS):
        (texts / f"{number}.txt").write_text(f"gate first\n{padding}", encoding="utf-8")
    last = texts / "last.txt"
    last.write_text(padding, encoding="utf-8")
    options = ["-o", tmp_path / "out", "-p", f"gate={gate}", "--split-size", 600]
    options += ["-j", SLOTS] if command == "run" else []
    arguments = [command, gated.__file__, texts, *options]
    with Background(tmp_path / "log", *arguments, MAPREDUCE_COORDINATOR=cluster.address) as client:
        wait_for(lambda: len(list(gate.glob("first.*"))) == SLOTS, "a task in each slot")
        if change == "removed":
            last.unlink()
        elif change == "replaced":
            (tmp_path / "new").write_text(padding.upper(), encoding="utf-8")
            (tmp_path / "new").replace(last)
        else:
            with last.open("a", encoding="utf-8") as file:
                file.write("more\n")
        (gate / "hold-first").unlink()
        assert client.process.wait(60) == 1
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert str(last) in said, said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
