"""Jobs whose keys are `str.split`: that lines are not cut for it, and that nobody can tell."""

import gzip
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_run import Run

from mapreduce import Count, Job, JsonLines
from mapreduce.dataflow.columns.tally import Tally
from mapreduce.dataflow.tasks.map_task import PIECE_CHARS, MapLoop
from mapreduce.errors import JobFailed
from mapreduce.plan import Limits

SPACES = ["\n", "\r\n", " ", "\t", "\r", "\v", "\x1c", "\x85", "\u2028", "\u3000"]
PARTS = ["a", "é", "dd" * 40, *map(str, range(30)), *SPACES, *SPACES]
BAD = b"\xff"


@pytest.fixture
def split(monkeypatch):
    """How many blocks of text were split without cutting lines, up to now."""
    seen = Counter()
    run_words = MapLoop.run_words

    def spy(loop, block):
        seen["blocks"] += 1
        run_words(loop, block)

    monkeypatch.setattr(MapLoop, "run_words", spy)
    return seen


def split_lines(line):
    return line.split()


def number(word, found):
    yield word, sum(1 for _ in found)


def none_or_number(word, found):
    yield word, sum(1 if one is None else one for one in found)


def jobs(**options):
    return Job(keys=str.split, **options), Job(keys=split_lines, **options)


def outcome(run):
    return run.files, run.outcome.counters, run.outcome.records_in, run.outcome.warnings


@pytest.mark.parametrize(
    "reducing",
    [{"reducer": Count()}, {"reducer": number}, {"reducer": none_or_number, "combiner": none_or_number}],
    ids=["count", "reducer", "combiner"],
)
@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=300),
    limits=st.sampled_from([None, Limits(flush_records=40, sort_buffer=3000, block=300, read=70)]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_output_is_the_same(tmp_path_factory, reducing, parts, limits, encoding):
    """Whatever parts words and lines, in any encoding, and wherever reads and buffers are cut."""
    folder = tmp_path_factory.mktemp("run")
    source = folder / "in.txt"
    source.write_bytes("".join(parts).encode(encoding))
    fast, slow = (
        outcome(Run(job, source, folder / name, split=200, limits=limits, encoding=encoding))
        for name, job in zip(("fast", "slow"), jobs(encoding=encoding, **reducing), strict=True)
    )
    assert fast == slow


@pytest.mark.parametrize("errors", ["replace", "skip"])
def test_bad_bytes_are_dealt_with_by_line(tmp_path, split, errors):
    """Lines with bad bytes are left out, or have them replaced, and the warnings are the same."""
    source = tmp_path / "in.txt"
    source.write_bytes(b"a b\n" + BAD + b"c b\na\n" + b"d" + BAD)
    fast, slow = (
        outcome(Run(job, source, tmp_path / name, encoding_errors=errors))
        for name, job in zip(("fast", "slow"), jobs(reducer=Count()), strict=True)
    )
    assert fast == slow
    assert split["blocks"]


def test_lines_are_not_cut(tmp_path, split, monkeypatch):
    """Of packed files, or where words are no columns: a line is a record, and words are handed on in even numbers."""
    taken = []
    add_keys = Tally.add_keys

    def spy(tally, keys):
        taken.append(len(keys))
        return add_keys(tally, keys)

    monkeypatch.setattr(Tally, "add_keys", spy)
    text = "to be or not to be\n" * 3000 + "that is the question"
    (tmp_path / "in.txt").write_text(text)
    with gzip.open(tmp_path / "in.txt.gz", "wt") as file:
        file.write(text)
    combined = {"reducer": none_or_number, "combiner": none_or_number}
    for name, reducing in (("in.txt", combined), ("in.txt.gz", {"reducer": Count()})):
        before = split["blocks"]
        run = Run(Job(keys=str.split, **reducing), tmp_path / name, tmp_path / f"out-{name}", split=1 << 20)
        assert split["blocks"] > before
        assert dict(run.records)["be"] == 6000
        assert sum(taken) == 18_004
        assert run.outcome.records_in == 3001
        fast, taken[:] = list(taken), []
        slow = Job(keys=lambda line: iter(line.split()), **reducing)
        Run(slow, tmp_path / name, tmp_path / f"slow-{name}", split=1 << 20)
        assert fast == taken
        taken.clear()


def test_a_line_may_be_longer_than_what_is_split_at_a_time(tmp_path, split):
    """A line is split as a whole, however long it is."""
    source = tmp_path / "in.txt"
    source.write_text("a " * PIECE_CHARS + "bc" * PIECE_CHARS + "\nd")
    run = Run(Job(keys=str.split, reducer=Count()), source, tmp_path / "out", split=1 << 20)
    assert dict(run.records) == {"a": PIECE_CHARS, "bc" * PIECE_CHARS: 1, "d": 1}
    assert split["blocks"]


@pytest.mark.parametrize(
    ("options", "text"),
    [({"input": JsonLines()}, '"a b"\n"b"\n'), ({"batch_size": 2}, "a b\n")],
    ids=["records of another format", "batches"],
)
def test_other_records_are_given_one_by_one(tmp_path, split, options, text):
    """Only lines of text as they are can be split together."""
    source = tmp_path / "in.txt"
    source.write_text(text)
    job = Job(keys=str.split, reducer=Count(), **options)
    if "input" in options:
        assert dict(Run(job, source, tmp_path / "out").records) == {"a": 1, "b": 2}
    else:
        with pytest.raises(JobFailed, match="list"):
            Run(job, source, tmp_path / "out")
    assert split["blocks"] == 0


def refusing(key, partitions):
    raise ValueError(f"no place for {key}")


def test_what_fails_names_the_file(tmp_path, split):
    """A partitioner that fails is told with the file whose words it got."""
    source = tmp_path / "in.txt"
    source.write_text("a b\n")
    with pytest.raises(JobFailed) as caught:
        Run(Job(keys=str.split, reducer=number, partitioner=refusing), source, tmp_path / "out")
    assert "no place for a" in str(caught.value)
    assert "refusing" in str(caught.value)
    assert split["blocks"]
