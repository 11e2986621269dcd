"""Records that kill the process: named exactly, put aside where the job does that, and the rest as if never there."""

import ctypes
import json
import os
import resource
import signal

import polars as pl
import pytest
from cluster import mapreduce as command
from everywhere import bytes_of, die_once

import mapreduce
from mapreduce import Aggregator, Context, Input, Job, JobFailed, Join, Step

WAYS = {
    "crash": "killed the process: SIGSEGV",
    "exit": "killed the process: exit code 7",
    "kill": "killed the process: SIGKILL",
    "memory": "killed the process: SIGABRT",
    "list": "MemoryError in mapper",
}


def perish(how):
    """End this process in one of many ways."""
    if how == "crash":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(7)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how in {"memory", "list"}:
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, limits[1]))
        try:
            return pl.repeat(1, 1 << 36, eager=True) if how == "memory" else [0] * (1 << 36)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
    return None


def mapper(line, *, ctx: Context, grave: str = ""):
    """Words by their length; a line with the name of a way to die is deadly."""
    ctx.counters["lines"] += 1
    if line == "by chance":
        die_once(grave, "mapper")
    for word in line.split():
        yield len(word), word
        perish(word)


def reducer(length, words, *, grave: str = ""):
    found = sorted(words)
    if length == 3:
        die_once(grave, "reducer")
    yield length, ("crash" if length == 1 else len(found))


def halves(length, count):
    perish(count)
    yield length % 2, count


def ending(half, counts, *, ctx: Context, grave: str = ""):
    total = sum(counts)
    ctx.outputs["seen"].write(half, total)
    die_once(grave, "ending")
    yield half, total


steps = [Step(mapper, reducer=reducer), Step(halves, reducer=ending)]
job = Job(steps=steps, outputs={"seen": "tsv"}, reducers=2)


def lines_of(count=300):
    """Lines of words of 2 to 9 letters, without any that kills."""
    return [
        "by chance" if n == 111 else " ".join("bcdefghij"[: 2 + (n + k) % 8] for k in range(3)) for n in range(count)
    ]


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def parts_of(output):
    """The files of an output without those of bad records."""
    return {name: data for name, data in bytes_of(output).items() if not name.startswith("_bad")}


def test_the_output_is_that_of_a_run_without_them(tmp_path, cluster):
    """Crashes, exits, kills and memory: put aside by place and kind, locally, and over tcp among chance kills."""
    good = lines_of()
    deadly = [f"ab {way}" for way in WAYS]
    given = list(good)
    for place, line in zip((0, 60, 61, 200, 304), deadly, strict=True):
        given.insert(place, line)
    given.append("a")  # a letter alone: its group kills the mapper of the second step
    path, clean = write(tmp_path / "in.txt", given), write(tmp_path / "good.txt", [*good, "a"])
    grave = tmp_path / "grave"
    grave.mkdir()
    options = {"max_bad": 10, "split_size": 3000}
    results = [
        mapreduce.run(job, path, tmp_path / "local", **options),
        mapreduce.run(
            job, path, tmp_path / "tcp", coordinator=cluster.address, params={"grave": str(grave)}, **options
        ),
    ]
    assert sorted(name.name for name in grave.iterdir()) == ["ending", "mapper", "reducer"]
    text = path.read_bytes()
    for result in results:
        bad = list(result.bad)
        first = {one["content"]: one for one in bad if one["step"] == 1}
        assert {line: one["kind"] for line, one in first.items()} == dict(zip(deadly, WAYS.values(), strict=True))
        assert all(text[one["offset"] :].startswith(line.encode()) for line, one in first.items())
        (later,) = [one for one in bad if one["step"] == 2]
        assert (later["key"], later["content"], later["kind"]) == ("1", "crash", WAYS["crash"])
        assert result.counters["lines"] == len(given) - len(WAYS)
        assert bytes_of(result.output) == bytes_of(results[0].output)
    without = mapreduce.run(job, clean, tmp_path / "without", max_bad=1, split_size=3000)
    assert parts_of(without.output) == parts_of(results[0].output)
    lengths = {n: sum(len(word) == n for line in good for word in line.split()) for n in range(2, 10)}
    assert dict(without) == {half: sum(c for n, c in lengths.items() if n % 2 == half) for half in (0, 1)}


@pytest.mark.parametrize("way", ["crash", "exit", "kill", "memory"])
def test_without_max_bad_the_failure_names_the_record(tmp_path, cluster, way):
    """After its attempts the job fails: function, file, byte, record and ordinal, exactly."""
    path = write(tmp_path / "in.txt", [*lines_of(50), way, "more"])
    with pytest.raises(JobFailed) as caught:
        mapreduce.run(job, path, tmp_path / "out", coordinator=cluster.address)
    failure = caught.value.failure
    assert failure.message.startswith("the task process died: ")
    assert failure.message.endswith(", at work on record 51 of the task")
    assert "  task: map 0 (attempt 4 of 4 that failed so)\n" in str(caught.value)
    assert (failure.path, failure.record, failure.task) == (str(path), repr(way), "map 0")
    assert path.read_bytes()[failure.offset :].startswith(way.encode())
    assert failure.function.startswith("mapper (")
    assert "--max-bad" in "".join(failure.notes)


def by_batch(lines):
    for line in lines:
        perish(line)
    return [(line[:1], 1) for line in lines]


def by_frame(frame):
    for line in frame["value"]:
        perish(line)
    return frame.select(key=pl.col("value").str.head(1), value=1)


def totals(frame):
    for key in frame["key"].unique():
        perish({"x": "crash"}.get(key, ""))
    return frame.group_by("key", maintain_order=True).agg(pl.col("value").sum())


class Largest(Aggregator):
    """The largest of all values; merging those of two tasks kills, under the key "x"."""

    def create(self, value):
        return value

    def merge(self, state, other):
        if state != other and state.startswith("x"):
            perish("exit")
        return max(state, other)

    def finish(self, state):
        return state


def combined(key, values):
    if key == "x":
        perish("crash")
    return [(key, sum(values))]


def total(key, values):
    return [(key, sum(values))]


NARROWED = {
    "batch": Job(by_batch, reducer=total, batch_size=40),
    "frame": Job(by_frame, reducer=totals, frames=True),
}


@pytest.mark.parametrize("kind", NARROWED)
def test_in_a_batch_or_frame_the_single_record_is_found(tmp_path, cluster, kind):
    """It is named and put aside alone: the others of its batch are in the result; so are groups of frames."""
    words = [f"{'abc'[n % 3]}{n}" for n in range(500)]
    given = [*words[:77], "crash", *words[77:300], "exit", *words[300:]]
    path, clean = write(tmp_path / "in.txt", given), write(tmp_path / "good.txt", words)
    result = mapreduce.run(NARROWED[kind], path, tmp_path / "out", max_bad=5, coordinator=cluster.address)
    assert [(one["content"], one["kind"]) for one in result.bad] == [(w, WAYS[w]) for w in ("crash", "exit")]
    assert [path.read_text()[one["offset"] :].split()[0] for one in result.bad] == ["crash", "exit"]
    without = mapreduce.run(NARROWED[kind], clean, tmp_path / "without", max_bad=5, runner="inline")
    assert parts_of(result.output) == parts_of(without.output)


def test_without_max_bad_a_batch_is_narrowed_as_well(tmp_path, cluster):
    """The failure names the one record of the batch, though nothing is put aside."""
    path = write(tmp_path / "in.txt", [*map(str, range(77)), "crash", *map(str, range(50))])
    with pytest.raises(JobFailed, match="at work on record 78 of the task") as caught:
        mapreduce.run(NARROWED["batch"], path, tmp_path / "none", coordinator=cluster.address)
    assert caught.value.failure.record == "'crash'"


def test_groups_that_kill_are_put_aside_by_key(tmp_path, cluster):
    """A reducer of frames, merges of an aggregator, a combiner: the key that kills is found among all others."""
    path = write(tmp_path / "in.txt", "abxcxdxe" * 20)
    framed = Job(lambda frame: frame.select(key="value", value=1), reducer=totals, frames=True)
    result = mapreduce.run(framed, path, max_bad=1, coordinator=cluster.address)
    assert dict(result) == dict.fromkeys("abcde", 20)
    assert [(one["key"], one["task"], one["kind"]) for one in result.bad] == [("'x'", "reduce 0", WAYS["crash"])]
    largest = Job(lambda line, *, ctx: [(line, f"{line}{ctx.index}")], reducer=Largest())
    result = mapreduce.run(largest, path, max_bad=1, split_size=160, coordinator=cluster.address)
    assert dict(result) == {key: f"{key}1" for key in "abcde"}
    assert [(one["key"], one["task"], one["kind"]) for one in result.bad] == [("'x'", "reduce 0", WAYS["exit"])]


def test_an_aggregator_that_kills_in_a_map_task_names_its_key(tmp_path, cluster):
    """Values of many records meet there, so that none is put aside: the job fails, and says of which key they are."""
    path = write(tmp_path / "in.txt", "abxcx")
    work = Job(lambda line, *, ctx: [(line, f"{line}{ctx.offset}")], reducer=Largest())
    with pytest.raises(JobFailed, match="exit code 7, while it folded the values of a key in a map task") as caught:
        mapreduce.run(work, path, max_bad=1, coordinator=cluster.address)
    assert caught.value.failure.key == "'x'"


def test_a_combiner_that_kills_leaves_its_values_as_they_are(tmp_path, cluster):
    """No record is put aside for it: the reducer gets all, and a warning tells of the key. Without max_bad it fails."""
    path = write(tmp_path / "in.txt", "abxcxdxe" * 20)
    work = Job(lambda line: [(line, 1)], reducer=total, combiner=combined)
    result = mapreduce.run(work, path, max_bad=1, coordinator=cluster.address)
    assert dict(result) == {key: 60 if key == "x" else 20 for key in "abcdex"}
    assert list(result.bad) == []
    assert any("SIGSEGV on the key 'x'" in warning for warning in result.warnings)
    with pytest.raises(JobFailed, match="in the combiner, in its call") as caught:
        mapreduce.run(work, path, coordinator=cluster.address)
    assert caught.value.failure.key == "'x'"


def of_right(line):
    perish(line)
    return [(line[:1], line)]


def test_records_of_a_joined_table_are_put_aside_once(tmp_path, cluster):
    """Every process that loads the right input of a broadcast join dies of the record, and it is counted once."""
    left, right = write(tmp_path / "l.txt", "abcdef" * 50), write(tmp_path / "r.txt", ["a1", "crash", "b1", "exit"])
    work = Job(inputs={"left": Input(lambda line: [(line, 1)]), "right": Input(of_right)}, reducer=Join(broadcast=True))
    result = mapreduce.run(work, {"left": left, "right": right}, max_bad=2, split_size=200, coordinator=cluster.address)
    assert sorted(result) == [("a", (1, "a1"))] * 50 + [("b", (1, "b1"))] * 50
    assert [(one["content"], one["offset"], one["kind"]) for one in result.bad] == [
        ("crash", 3, WAYS["crash"]),
        ("exit", 12, WAYS["exit"]),
    ]


def test_too_many_fail_the_job(tmp_path, cluster):
    """Records that kill count against the bound like any other; the story is the last one's."""
    path = write(tmp_path / "in.txt", ["exit", "ab", "exit"])
    with pytest.raises(JobFailed, match="2 bad records: --max-bad allows 1") as caught:
        mapreduce.run(job, path, tmp_path / "out", max_bad=1, coordinator=cluster.address)
    assert caught.value.failure.offset == 8


CRASHING = """
import ctypes
from mapreduce import Job, Sum

def mapper(line):
    if line == "crash":
        ctypes.string_at(0)
    yield "sum", int(line)

job = Job(mapper, reducer=Sum())
"""


def test_the_command_line(tmp_path):
    """`run` ends with the record's place, and with --max-bad it goes on; the inline runner dies of it."""
    (tmp_path / "crashing.py").write_text(CRASHING)
    write(tmp_path / "in.txt", ["1", "2", "crash", "4"])

    def run(*arguments):
        found = command("run", "crashing.py", "in.txt", "-o", *arguments, cwd=tmp_path, check=False)
        return found.returncode, found.stderr

    code, told = run("none")
    assert code == 1
    assert "at work on record 3 of the task" in told
    assert f"input: {tmp_path}/in.txt, byte 4" in told
    code, told = run("out", "--max-bad", "1")
    assert (code, (tmp_path / "out" / "part-00000").read_text()) == (0, "sum\t7\n")
    assert "1 bad record put aside: 1 killed the process: SIGSEGV, in out/_bad" in told
    assert json.loads((tmp_path / "out" / "_bad" / "part-00000.jsonl").read_text())["content"] == "crash"
    code, _ = run("inline", "-r", "inline", "--max-bad", "1")
    assert code == -signal.SIGSEGV
