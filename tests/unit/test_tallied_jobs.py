"""Jobs whose mappers are proven to yield one value: that their pairs are counted, and that nobody can tell."""

import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from inline_run import Run
from putting_aside import run_quickly

from mapreduce import Count, Job, JsonLines, Max, Sum
from mapreduce.dataflow.columns.tally import Tally
from mapreduce.dataflow.manifest.folder import read_output
from mapreduce.dataflow.tasks.emit_keys import CHUNK_KEYS
from mapreduce.dataflow.tasks.lifting import KNOWN
from mapreduce.dataflow.tasks.sinks import ShuffleSink
from mapreduce.dataflow.tasks.tallying import CHUNK_PAIRS
from mapreduce.errors import JobFailed
from mapreduce.plan import Limits

LIMITS = Limits(flush_records=40, sort_buffer=3000, block=300)


def ones(line):
    for word in line.split():
        yield word, 1


def ones_unproven(line):
    for word in line.split():
        pair = word, 1
        yield pair


def lines(line):
    for word in line.split():
        yield word, line


def lines_unproven(line):
    for word in line.split():
        pair = word, line
        yield pair


def lines_by_pair(line):
    for word in map(str, line.split()):
        yield word, line


LONG = "x y z " * 400  # more words than are counted at once


def kinds_of_iterables(line):
    found = set(line.split()) if len(line) % 3 else (line + LONG).split()
    for word in sorted(found) if len(line) % 2 else tuple(line):
        yield word, line
    for word in line:
        yield word, line


def kinds_unproven(line):
    found = set(line.split()) if len(line) % 3 else (line + LONG).split()
    for word in sorted(found) if len(line) % 2 else tuple(line):
        pair = word, line
        yield pair
    for word in line:
        pair = word, line
        yield pair


def lazily_by_pair(line):
    found = line.split()
    for word in map(str.upper, found) if "1" in found else found:
        yield word, 1


def lazily_unproven(line):
    found = line.split()
    for word in map(str.upper, found) if "1" in found else found:
        pair = word, 1
        yield pair


def changing(line):
    seen = []
    for word in line.split():
        yield word, seen
    seen.append(1)
    for word in line.split():
        yield word, seen


def changing_by_pair(line):
    seen = []
    for word in map(str, line.split()):
        yield word, seen
    seen.append(1)
    for word in map(str, line.split()):
        yield word, seen


def changing_unproven(line):
    for found in ([], [1]):
        for word in line.split():
            pair = word, found
            yield pair


def total(word, counts):
    yield word, sum(counts)


def longest(word, found):
    yield word, max(found)


def each(word, found):
    yield word, [repr(value) for value in found][:50]


JOBS = {
    "count": ((ones, ones_unproven), Count(), None),
    "sum": ((ones, ones_unproven), Sum(), None),
    "combiner": ((ones, ones_unproven), total, total),
    "values of the call": ((lines, lines_unproven), longest, longest),
    "no combiner": ((ones, ones_unproven), each, None),
    "values of the call, no combiner": ((lines, lines_unproven), each, None),
    "values of the call, pair by pair": ((lines_by_pair, lines_unproven), each, None),
    "kinds of iterables": ((kinds_of_iterables, kinds_unproven), each, None),
    "now and then an iterator": ((lazily_by_pair, lazily_unproven), each, None),
    "counts of the call": ((lines, lines_unproven), Count(), None),
}


@pytest.fixture
def counted(monkeypatch):
    """How many pairs came to a sink counted, up to now."""
    seen = Counter()
    add = ShuffleSink.add_tallied

    def spy(sink, pairs):
        seen["pairs"] += pairs.pairs
        add(sink, pairs)

    monkeypatch.setattr(ShuffleSink, "add_tallied", spy)
    return seen


def ran(tmp_path, name, job, text, limits=None):
    source = tmp_path / "in.txt"
    source.write_text(text)
    return Run(job, source, tmp_path / name, split=300, limits=limits)


COUNTED = [kind for kind in JOBS if kind != "kinds of iterables"]  # of other texts


@pytest.mark.parametrize("kind", COUNTED)
def test_pairs_are_counted(tmp_path, counted, kind):
    """All pairs of a proven mapper, and none of one of which nothing is proven; the output has the same bytes."""
    (mapper, unproven), reducer, combiner = JOBS[kind]
    text = "to be or not to be\n" * 100 + "that is the question\n" * 10
    fast = ran(tmp_path, "fast", Job(mapper, reducer=reducer, combiner=combiner), text)
    assert counted["pairs"] == 640
    slow = ran(tmp_path, "slow", Job(unproven, reducer=reducer, combiner=combiner), text)
    assert counted["pairs"] == 640
    assert fast.files == slow.files
    assert fast.outcome.counters == slow.outcome.counters


@pytest.mark.parametrize("mapper", [changing, changing_by_pair])
def test_values_that_change_are_as_they_were_when_they_were_yielded(tmp_path, counted, mapper):
    """A variable that is given nothing else may hold what the mapper changes between two pairs."""
    text = "to be or not to be\n" * 100
    fast = ran(tmp_path, "fast", Job(mapper, reducer=each), text)
    slow = ran(tmp_path, "slow", Job(changing_unproven, reducer=each), text)
    assert fast.files == slow.files
    assert counted["pairs"] == 0


@pytest.mark.parametrize(("text", "alike"), [("to be or not to be\n" * 100, 600), ("to be 1\n" + "to be\n" * 9, 0)])
def test_loops_that_only_yield_are_taken_as_a_whole(tmp_path, monkeypatch, text, alike):
    """Their lists are counted as they are, up to the first iterable that is none of Python's own."""
    taken = Counter()
    add = Tally.add_keys

    def spy(tally, keys, value=None):
        taken["keys"] += len(keys)
        return add(tally, keys, value)

    monkeypatch.setattr(Tally, "add_keys", spy)
    ran(tmp_path, "whole", Job(lazily_by_pair, reducer=Count()), text)
    assert taken["keys"] == (alike if sys.version_info[:2] == KNOWN else 0)


@pytest.mark.parametrize("kind", JOBS)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "cc", "d" * 300, "é", *map(str, range(50))])), max_size=40),
    st.sampled_from([None, LIMITS]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_output_is_the_same(tmp_path_factory, kind, words, limits):
    """Whatever the words, and wherever buffers are cut."""
    (mapper, unproven), reducer, combiner = JOBS[kind]
    folder = tmp_path_factory.mktemp("run")
    text = "".join(f"{' '.join(line)}\n" for line in words) or "\n"
    fast = ran(folder, "fast", Job(mapper, reducer=reducer, combiner=combiner), text, limits)
    slow = ran(folder, "slow", Job(unproven, reducer=reducer, combiner=combiner), text, limits)
    assert fast.files == slow.files


LENGTHS = [0, 1, 10, CHUNK_PAIRS // 2, CHUNK_PAIRS - 1, CHUNK_PAIRS, CHUNK_PAIRS + 1, 3 * CHUNK_PAIRS - 5]


def some_bad(line):
    if line == "bad":
        raise ValueError(line)
    for word in line.split():
        yield word, line


def some_bad_by_pair(line):
    if line == "bad":
        raise ValueError(line)
    for word in map(str, line.split()):
        yield word, line


def number(word, found):
    yield word, sum(1 for _ in found)


@pytest.mark.parametrize("mapper", [some_bad, some_bad_by_pair])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(LENGTHS)), max_size=8), st.booleans())
@example([("a", 10), ("b", 1000), ("c", 20)], False)
@example([("a", 10), ("b", 1000), ("c", 20)], True)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_pair_is_lost_where_values_change(tmp_path_factory, mapper, calls, has_bad):
    """However many of the value before wait, and however many a call yields; also after a record that is put aside."""
    folder = tmp_path_factory.mktemp("run")
    lines_of_words = [" ".join([word] * length) for word, length in calls] + ["bad"] * has_bad
    (folder / "in.txt").write_text("\n".join(lines_of_words))
    run_quickly(Job(mapper, reducer=number), folder / "in.txt", folder / "out", max_bad=1)
    wanted = Counter()
    for word, length in calls:
        wanted[word] += length
    assert dict(read_output(folder / "out")) == dict(+wanted)


def split_into_words(line):
    yield from line.split()


def split_to_list(line):
    return line.split()


@pytest.mark.parametrize("keys", [split_to_list, split_into_words, lambda line: iter(line.split())])
def test_keys_alone_are_counted(tmp_path, counted, keys):
    """Of functions that return lists or iterators, and of generators: for Count, and for a combiner."""
    text = "to be or not to be\n" * 100 + "that is the question\n" * 10
    wanted = ran(tmp_path, "pairs", Job(ones_unproven, reducer=Count()), text)
    fast = ran(tmp_path, "fast", Job(keys=keys, reducer=Count()), text)
    assert counted["pairs"] == 640
    assert fast.files == wanted.files
    combined = ran(tmp_path, "combined", Job(keys=keys, reducer=none_or_number, combiner=none_or_number), text)
    assert counted["pairs"] == 1280
    assert combined.files == wanted.files


def none_or_number(word, counts):
    yield word, sum(1 if count is None else count for count in counts)


def numbers_and_words(line):
    return [int(word) if word.isdigit() else word for word in line.split()]


def test_keys_that_are_no_texts_become_columns(tmp_path, counted):
    """What was counted before them stays counted, and none of them is taken for one that only equals it."""
    source = tmp_path / "in.txt"
    source.write_text("a b a\n" * 8000 + "1 a 1 b\n" * 3 + "c\n" * 900)
    run = Run(Job(keys=numbers_and_words, reducer=Count()), source, tmp_path / "out", split=1 << 20)
    assert dict(run.records) == {"a": 16003, "b": 8003, "1": 6, "c": 900}
    assert 0 < counted["pairs"] <= 24_000


def test_a_largest_value_is_not_counted(tmp_path, counted):
    """Aggregators that look at each value get each."""
    run = ran(tmp_path, "out", Job(ones, reducer=Max()), "to be or not to be\n")
    assert dict(run.records) == {"to": 1, "be": 1, "or": 1, "not": 1}
    assert not counted


def numbers_too(line):
    for word in line.split():
        yield int(word) if word.isdigit() else word, 1


def test_keys_that_cannot_be_counted_become_columns(tmp_path, counted):
    """With those before them and after them: nothing is lost or counted twice where the loops change over."""
    text = "a b a\n" * 400 + "1 a 1 b\n" * 3 + "c\n" * 900
    source = tmp_path / "in.txt"
    source.write_text(text)
    run = Run(Job(numbers_too, reducer=Sum()), source, tmp_path / "out", split=1 << 20)
    assert dict(run.records) == {"a": 803, "b": 403, "1": 6, "c": 900}
    assert counted["pairs"] == 1024


class WithTotal:
    def __init__(self):
        self.lines = 0

    def __call__(self, line):
        self.lines += 1
        for word in line.split():
            yield word, 1

    def finish(self):
        yield "lines", self.lines


def test_a_mapper_class_may_finish_with_other_values(tmp_path, counted):
    """What `finish` yields is looked at pair by pair, behind what was counted."""
    source = tmp_path / "in.txt"
    source.write_text("a b\n" * 300)
    run = Run(Job(WithTotal, reducer=Sum()), source, tmp_path / "out", split=1 << 20)
    assert dict(run.records) == {"a": 300, "b": 300, "lines": 300}
    assert counted["pairs"] == 512 + 88


def unhashable(line):
    for word in line.split():
        yield [word], 1


def too_short(line):
    for word in line.split():
        yield word, 1
        if word == "bad":
            raise ValueError("bad word")


def refusing(word, counts):
    if word == "bad":
        raise ValueError("no combining of this")
    yield word, sum(counts)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Job(unhashable, reducer=Sum()), ["mapper", "unhashable", "['good']", "list"]),
        (Job(too_short, reducer=Sum()), ["bad word", "too_short", "byte 10", "good bad"]),
        (Job(ones, reducer=total, combiner=refusing), ["no combining of this", "refusing", "bad"]),
    ],
)
def test_failures_are_told_as_ever(tmp_path, job, told):
    """A key that is none, an error of the mapper with its record's place, and one of the combiner with its key."""
    source = tmp_path / "in.txt"
    source.write_text("good good\ngood bad\n")
    with pytest.raises(JobFailed) as caught:
        Run(job, source, tmp_path / "out", split=1 << 20)
    for words in told:
        assert words in str(caught.value)


def test_no_line_is_lost_where_lists_are_asked_for_in_c(tmp_path):
    """Of `str.split` itself, whose lists are taken without a step of Python; a record that it cannot take is told."""
    text = "".join(f"a b{number}\n" for number in range(5000))
    run = ran(tmp_path, "out", Job(keys=str.split, reducer=Count()), text)
    counts = dict(run.records)
    assert (counts.pop("a"), len(counts), set(counts.values())) == (5000, 5000, {1})
    source = tmp_path / "in.jsonl"
    source.write_text('"a b"\n17\n')
    with pytest.raises(JobFailed, match="int"):
        Run(Job(keys=str.split, reducer=Count(), input=JsonLines()), source, tmp_path / "failed", split=1 << 20)


def test_keys_that_hardly_repeat_come_in_large_columns(tmp_path, monkeypatch, counted):
    """Once counting has been given up, columns are as large as blocks are, and not as small as what is counted."""
    sizes = []
    add_keys = ShuffleSink.add_keys

    def spy(sink, keys):
        sizes.append(len(keys))
        add_keys(sink, keys)

    monkeypatch.setattr(ShuffleSink, "add_keys", spy)
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{number} {number}x\n" for number in range(60_000)))
    Run(Job(keys=split_to_list, reducer=Count()), source, tmp_path / "out", split=1 << 22)
    assert counted["pairs"] + sum(sizes) == 120_000
    assert max(sizes) > 4 * CHUNK_KEYS
