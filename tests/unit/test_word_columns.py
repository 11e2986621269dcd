"""Words as columns without Python objects: the same as `str.split` gives, for any text; and jobs that count them."""

import gzip
import sys
from collections import Counter

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from inline_run import Run

from mapreduce import Count, Job
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.dataflow.readers import lines, word_columns
from mapreduce.dataflow.readers.word_columns import WIDE_SPACES, native_words
from mapreduce.dataflow.tasks import fold
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.dataflow.tasks.sinks import ShuffleSink
from mapreduce.dataflow.tasks.task import run_map
from mapreduce.plan import AttemptId, Limits, MaxBad, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob

LONGEST = 1000
TEXTS = st.text(
    st.sampled_from("ab\x00é語\U0001f600 \n\r\t\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2007\u2028\u3000\u200b\ufeff")
)


def words_in(raw, start=0):
    found = native_words("f", raw, start, LONGEST)
    return None if found is None else (found.words.to_list(), found.lines)


def test_spaces_are_those_of_python():
    """No other character parts words."""
    spaces = {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()}
    assert {space for space in spaces if ord(space) >= 128} == set(WIDE_SPACES)
    for space in sorted(spaces):
        assert words_in(f"a{space}b".encode())[0] == ["a", "b"]
    for other in ("\x00", "\u200b", "\u2060", "\ufeff", "\u180e"):
        assert words_in(f"a{other}b".encode())[0] == [f"a{other}b"]


@given(TEXTS | st.text(), st.booleans())
@example("\u1f8b x", True)
@example("x(\x1f", False)
@example("\x1f\x8b", False)
def test_words_are_those_of_str_split(text, ended):
    """Of any text, however it begins; lines are counted as they are cut."""
    text += "\n" * ended
    raw = text.encode()
    if not text:
        assert words_in(raw, 1) is None
    else:
        assert words_in(raw, 1) == (text.split(), text.count("\n") + (not ended and not text.endswith("\n")))


@given(TEXTS, st.binary(min_size=1, max_size=3), TEXTS)
def test_bytes_that_are_no_text_are_left_to_others(before, strange, after):
    """Whatever they stand between: what is made of spaces never hides them."""
    raw = before.encode() + strange + after.encode()
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        assert words_in(raw, 1) is None
    else:
        assert words_in(raw, 1)[0] == text.split()


def test_a_mark_is_none_of_the_text():
    """At the start of a file; elsewhere it is a character as any other."""
    mark = "\ufeff".encode()
    assert words_in(mark + b"a b\n") == (["a", "b"], 1)
    assert words_in(mark + b"a b\n", 3)[0] == ["\ufeffa", "b"]
    assert words_in(mark) is None


def test_long_lines_are_left_to_others():
    """Which know whether it is one line."""
    assert words_in(b"a" * LONGEST)
    assert words_in(b"a " * LONGEST) is None


def test_bytes_that_lose_something_are_not_trusted(monkeypatch):
    """Where Polars gives other lines than the bytes have, the slow way reads them."""
    monkeypatch.setattr(word_columns, "lines_in", lambda _text: pl.Series(["a"]))
    assert words_in(b"a b\n") is None


# ---- jobs


def split_lines(line):
    return line.split()


@pytest.fixture
def taken(monkeypatch):
    """How many words came to a sink as columns, up to now."""
    seen = Counter()
    add = ShuffleSink.add_key_column

    def spy(sink, column, lane):
        seen["words"] += len(column)
        add(sink, column, lane)

    monkeypatch.setattr(ShuffleSink, "add_key_column", spy)
    return seen


def test_words_that_are_counted_become_columns(tmp_path, taken):
    """Of files as they are; packed ones go the other way, to the same output."""
    text = "to be or not to be\n" * 3000 + "that is the question"
    (tmp_path / "in.txt").write_text(text)
    with gzip.open(tmp_path / "in.txt.gz", "wt") as file:
        file.write(text)
    plain = Run(Job(keys=str.split, reducer=Count()), tmp_path / "in.txt", tmp_path / "plain")
    assert taken["words"] == 18_004
    packed = Run(Job(keys=str.split, reducer=Count()), tmp_path / "in.txt.gz", tmp_path / "packed")
    assert taken["words"] == 18_004
    assert plain.files == packed.files
    assert plain.outcome.records_in == packed.outcome.records_in == 3001


@pytest.mark.parametrize(
    "options",
    [
        {"reducer": Count(), "partitioner": lambda key, parts: len(key) % parts},
        {"reducer": lambda k, v: [(k, len([*v]))]},
    ],
    ids=["partitioner", "reducer"],
)
def test_what_looks_at_each_key_gets_them_the_other_way(tmp_path, taken, options):
    """A user's partitioner may fail for one key, which is to be told, and put aside; a reducer wants each value."""
    (tmp_path / "in.txt").write_text("to be or not to be\n" * 30)
    run = Run(Job(keys=str.split, **options), tmp_path / "in.txt", tmp_path / "out")
    assert dict(run.records) == {"to": 60, "be": 60, "or": 30, "not": 30}
    assert not taken


@given(
    st.lists(st.lists(st.integers(0, 3000).map(str) | st.sampled_from("aé\x85\u3000"), max_size=30), max_size=30),
    st.sampled_from([None, Limits(flush_records=40, sort_buffer=3000, block=300, read=70)]),
    st.sampled_from([1, 50, 8 << 20]),
    st.sampled_from([1, 10**9]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_output_is_the_same(tmp_path_factory, text, limits, most, repeats):
    """Whatever the words, however many become a column, and whether a column is counted by a table or by sorting."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "in.txt").write_text("".join(f"{' '.join(line)}\n" for line in text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "WORDS_BYTES", most)
        patch.setattr(fold, "REPEATS", repeats)
        fast, slow = (
            Run(Job(keys=keys, reducer=Count()), folder / "in.txt", folder / name, split=400, limits=limits)
            for name, keys in (("fast", str.split), ("slow", split_lines))
        )
    assert fast.files == slow.files
    assert fast.outcome.records_in == slow.outcome.records_in


def test_columns_are_counted_by_sorting_where_words_hardly_repeat(monkeypatch):
    """Else by a table; the counts are the same."""
    sorted_rows = []
    sort_frame = fold.sort_frame
    monkeypatch.setattr(fold, "sort_frame", lambda frame: sorted_rows.append(frame.height) or sort_frame(frame))
    counting = fold.Fold(Count(), site=None)
    for words, by_sorting in ((["a", "b", "a"] * 50, False), ([str(n) for n in range(100)] + ["7"], True)):
        counted = counting.count_keys(pl.Series(words), fold.Lane.STR)
        assert dict(
            zip(*counted.frame.select("key", "value").to_dict(as_series=False).values(), strict=True)
        ) == Counter(words)
        assert sorted_rows == [len(words)] * by_sorting


@pytest.mark.parametrize("limits", [None, Limits(flush_records=40, sort_buffer=3000, block=300, read=70)])
def test_a_careful_attempt_makes_the_same_runs(tmp_path, monkeypatch, limits):
    """Also where memory is short and runs are many: or its result would be taken for that of a changed input."""
    monkeypatch.setattr(lines, "WORDS_BYTES", 500)
    (tmp_path / "in.txt").write_text("".join(f"word{n} {n * n} the é\n" for n in range(2000)))
    (split,) = plan_splits(find_inputs([str(tmp_path / "in.txt")]), 1 << 20, "utf-8")
    options = TaskOptions(
        "job",
        str(tmp_path / "out"),
        steps=(StepShape(1, 3),),
        limits=limits or Limits(),
        durable=False,
        max_bad=MaxBad(9),
    )
    prepare_output(tmp_path / "out", "job", overwrite=False)
    job = LoadedJob(Job(keys=str.split, reducer=Count()), {}, options)
    made = []
    for number, careful in enumerate((False, True), 1):
        attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), number)
        made.append(run_map(TaskSetup(job, attempt, tmp_path, careful=careful), split))
    first, second = made
    assert (first.digests, first.runs) == (second.digests, second.runs)
    assert first.runs > 1 or limits is None
