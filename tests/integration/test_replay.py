"""Every task of every kind of job, replayed from what is kept of it, makes the very bytes of the job's own parts."""

import json
import subprocess
import sys

import pytest
from cluster import environment

import mapreduce
from mapreduce.dataflow.manifest.folder import read_manifest
from mapreduce.failed import history
from mapreduce.plan import Failure, FailureKind
from mapreduce.planner import plan
from mapreduce.request import Request

# In a process of its own, as the command does it: what it loads is a job's code and nothing else's. Prints the files
# that the attempts made, by task, with each a second one where a key came first.
REPLAY = """
import json, pathlib, sys
from mapreduce.failed.history import find
from mapreduce.failed.replay import Replay, task_named
folder, job, *tasks = sys.argv[1:]
told = []
replaying = Replay(find(job), pathlib.Path(folder), pathlib.Path(folder, "saved"), told.append)
made = {}
for name in tasks:
    task = task_named(find(job).spec, name)
    done = replaying.run(task)
    shown = replaying.first_records(task, done)
    outputs = pathlib.Path(folder, "out", "_tmp-" + find(job).job)
    kind, index = task.kind.value, task.index
    files = {path.name: path.read_text() for path in sorted(outputs.glob(f"{kind}-{index:05d}-*"))}
    made[name] = {"files": files, "records": done.records_out, "shown": shown}
print(json.dumps({"made": made, "told": told}))
"""

JOBS = """
from mapreduce import Count, Input, Job, Join, RangePartitioner, Step


def words(line):
    for word in line.split():
        yield word, 1


def total(word, counts):
    yield word, sum(counts)


def by_letter(word, count):
    yield word[0], (count, word)


def least(letter, words, *, ctx):
    ctx.counters["letters"] += 1
    yield letter, [min(words), ctx.previous.counters["lines"]]


def counted(line, *, ctx):
    ctx.counters["lines"] += 1
    yield from words(line)


def in_order(word, offsets):
    yield word, list(offsets)


def places(offset, line):
    for word in line.split():
        yield word, offset


def newest(offset):
    return -offset


def sides(word, left, right):
    yield word, [sum(left), sum(right)]


def split_off(word, counts, *, ctx):
    ctx.outputs["long" if len(word) > 3 else "short"].write(word, sum(counts))
    yield word, None


def shouted(line):
    return [line.upper()]


def left_words(line):
    return words(line)


def right_words(line):
    return words(line)


jobs = {
    "plain": Job(words, reducer=total),
    "folded": Job(keys=str.split, reducer=Count()),
    "combined": Job(words, combiner=total, reducer=total),
    "map_only": Job(records=shouted),
    "sorted": Job(places, reducer=in_order, sort_values=newest),
    "ranges": Job(words, reducer=total, partitioner=RangePartitioner()),
    "steps": Job(steps=[Step(counted, reducer=total), Step(by_letter, reducer=least)]),
    "map_only_last": Job(steps=[Step(words, reducer=total), Step(by_letter)]),
    "named": Job(words, reducer=split_off, outputs={"long": "tsv", "short": "jsonl"}),
    "broadcast": Job(
        inputs={"left": Input(left_words), "right": Input(right_words)}, reducer=Join("left", broadcast=True)
    ),
    "sides": Job(inputs={"left": Input(left_words), "right": Input(right_words)}, reducer=sides),
}
for _name, _job in jobs.items():
    globals()[_name] = _job
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the jobs and two texts, and a history of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "many_jobs.py").write_text(JOBS, encoding="utf-8")
    for name, text in (("a.txt", "to be or not\nthat is\n"), ("b.txt", "is the question\nto be\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def keep(project, name, inputs, failure=None):
    """Keep a job as if it had failed; gives its id."""
    request = Request(f"{project}/many_jobs.py:{name}", inputs, str(project / "kept"), reducers=2, split_size=12)
    planned = plan(request)
    history.save(planned, request, runner="local", failure=failure)
    planned.discard()
    return planned.spec.job


def replayed(project, job, *tasks):
    """Replay tasks in one new process."""
    folder = project / "replay"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", REPLAY, str(folder), job, *tasks],
        env=environment(PYTHONHASHSEED="0", POLARS_MAX_THREADS="1"),
        cwd=project,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CASES = {
    "plain": "reduce {}",
    "folded": "reduce {}",
    "combined": "reduce {}",
    "map_only": "map {}",
    "sorted": "reduce {}",
    "ranges": "reduce {}",
    "steps": "reduce {} of step 2",
    "map_only_last": "map {} of step 2",
    "named": "reduce {}",
    "broadcast": "map {}",
    "sides": "reduce {}",
}


@pytest.mark.parametrize("name", CASES)
def test_a_replayed_task_makes_the_bytes_of_the_jobs_part(project, name):
    """The attempt's files of each task of the last step equal the parts that a whole run of the job has written."""
    paths = [str(project / "a.txt"), str(project / "b.txt")]
    inputs = {"left": paths[:1], "right": paths[1:]} if name in {"sides", "broadcast"} else paths
    target = f"{project}/many_jobs.py:{name}"
    mapreduce.run(target, inputs, project / "out", runner="inline", reducers=2, split_size=12)
    parts = sorted(path for path in (project / "out").rglob("part-*"))
    mine = [path for path in parts if path.parent == project / "out"]
    assert len(mine) >= 2
    asked = {name: tuple(given) for name, given in inputs.items()} if isinstance(inputs, dict) else tuple(inputs)
    job = keep(project, name, asked)
    tasks = [CASES[name].format(number) for number in range(len(mine))]
    made = replayed(project, job, *tasks)["made"]
    for number, (task, part) in enumerate(zip(tasks, mine, strict=True)):
        files = made[task]["files"]
        kind = task.partition(" ")[0]
        assert files.pop(f"{kind}-{number:05d}-1") == part.read_text(encoding="utf-8")
        assert files == {
            f"{kind}-{number:05d}-1.{one.parent.name}": one.read_text(encoding="utf-8")
            for one in parts
            if one.parent != project / "out" and one.name.startswith(part.stem)
        }
        lines = part.read_text(encoding="utf-8").splitlines()
        assert len(made[task]["shown"]) == min(len(lines), 10)
    assert sum(made[task]["records"] for task in tasks) == read_manifest(project / "out").records
    assert not (project / "kept").exists()


@pytest.mark.parametrize("name", ["plain", "combined", "ranges", "named", "sides"])
def test_the_failing_key_comes_first_and_alone(project, name):
    """Before the whole partition a reduce task runs on the group of the failing key, which has all its values."""
    paths = (str(project / "a.txt"), str(project / "b.txt"))
    inputs = {"left": paths[:1], "right": paths[1:]} if name == "sides" else paths
    job = keep(project, name, inputs)
    whole = replayed(project, job, "reduce 0", "reduce 1")["made"]
    number = next(n for n in (0, 1) if "be" in whole[f"reduce {n}"]["files"][f"reduce-{n:05d}-1"])
    (wanted,) = [
        line
        for line in whole[f"reduce {number}"]["files"][f"reduce-{number:05d}-1"].splitlines()
        if line.startswith("be")
    ]
    failure = Failure(FailureKind.USER, "ValueError", key="'be'", task=f"reduce {number}")
    job = keep(project, name, inputs, failure)
    (project / "replay").rename(project / "before")
    got = replayed(project, job, f"reduce {number}")
    assert got["made"][f"reduce {number}"]["files"][f"reduce-{number:05d}-2"] == f"{wanted}\n"
    assert "the key 'be' comes first" in got["told"]
    assert got["made"][f"reduce {number}"]["shown"] == whole[f"reduce {number}"]["shown"]


def test_only_the_tasks_that_it_needs_run_before_a_task(project):
    """A map task of a later step needs one part of the step before; one whose function takes ctx needs all counters."""
    paths = (str(project / "a.txt"), str(project / "b.txt"))
    job = keep(project, "map_only_last", paths)
    maps = history.find(job).spec.steps[0].maps
    got = replayed(project, job, "map 1 of step 2")
    assert got["told"] == [f"what it reads is made first: {maps} map tasks and 1 reduce task"]
    (project / "replay").rename(project / "before")
    got = replayed(project, keep(project, "steps", paths), "map 1 of step 2")
    assert got["told"] == [f"what it reads is made first: {maps} map tasks and 2 reduce tasks"]
