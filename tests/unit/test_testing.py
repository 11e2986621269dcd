"""`mapreduce.testing` runs whole jobs on records that a test gives, in each input format."""

import polars as pl
import pytest

from mapreduce import Arrow, Csv, Files, Input, Job, JobFailed, Join, JsonLines, Parquet, Records, Sum, UsageError
from mapreduce.formats import FixedLength, Msgpack
from mapreduce.project import is_engine_file
from mapreduce.testing import run_on

ROWS = [{"name": "red", "legs": 4}, {"name": "blue", "legs": 2}, {"name": "red", "legs": 1}]


def by_name(row):
    yield row["name"], row["legs"]


@pytest.mark.parametrize("given", [JsonLines(), Parquet(), Arrow(), Msgpack()], ids=lambda given: type(given).__name__)
def test_rows_are_written_in_the_input_format(given):
    """The mapper gets the records that the test gave, whatever format the job reads."""
    assert dict(run_on(Job(by_name, input=given, reducer=Sum()), ROWS)) == {"red": 5, "blue": 2}


def test_csv_has_names_or_lists():
    """With a header records are dicts, whose values are text; without they are lists."""
    named = run_on(Job(by_name, input=Csv(), reducer=list_of), ROWS)
    assert dict(named) == {"red": ["4", "1"], "blue": ["2"]}
    plain = run_on(Job(lambda row: [tuple(row)], input=Csv(header=False, separator=";")), [["a;b", "c\nd"]])
    assert list(plain) == [("a;b", "c\nd")]


def list_of(key, values):
    yield key, list(values)


def test_binary_records_and_whole_files():
    """Records of a fixed length follow each other, and a file is what it is given to be."""
    found = run_on(Job(lambda record: [(record, None)], input=FixedLength(2, skip=3)), [b"ab", b"cd"])
    assert [key for key, _ in found] == [b"ab", b"cd"]
    job = Job(lambda path, content: [(path.rpartition("/")[2], content)], input=Files())
    assert list(run_on(job, {"a/one": b"\xff", "two": "text"})) == [("one", b"\xff"), ("two", b"text")]


def test_the_records_are_cut_into_splits():
    """Two map tasks read them by default, so that a combiner's results meet."""
    calls = []

    def combiner(key, values):
        calls.append(key)
        yield key, sum(values)

    job = Job(lambda line: [(word, 1) for word in line.split()], reducer=combiner, combiner=combiner)
    assert dict(run_on(job, ["a"] * 10)) == {"a": 10}
    tasks = run_on(Job(lambda line, *, ctx: [(ctx.task, 1)], reducer=Sum()), ["a"] * 10, splits=5)
    assert dict(tasks) == {f"map {i}": 2 for i in range(5)}


def fails(line):
    raise ValueError(line)


job = Job(fails)


def test_a_failure_shows_lines_of_the_user_alone():
    """The cause's traceback is that of the user's functions, and what pytest shows of the call is the test's line."""
    with pytest.raises(JobFailed) as caught:
        run_on(job, ["x"])
    assert [entry.frame.code.name for entry in caught.traceback.filter(caught)] == [
        "test_a_failure_shows_lines_of_the_user_alone"
    ]
    shown = caught.value.__cause__.__traceback__
    assert (shown.tb_frame.f_code.co_name, shown.tb_next) == ("fails", None)
    with pytest.raises(JobFailed) as caught:
        run_on(Job(lambda line: line), ["x"])
    assert caught.value.__cause__.__traceback__ is None
    with pytest.raises(UsageError) as refused:
        run_on(job, ["x\n"])
    assert not any(is_engine_file(str(entry.path)) for entry in refused.traceback.filter(refused))


def test_a_job_is_called_as_its_module_is():
    """One that a module has as its job is called like that module, as on a command line; any other by its mapper."""
    with pytest.raises(JobFailed) as caught:
        run_on(job, ["x"])
    assert caught.value.job.startswith("test_testing-")
    with pytest.raises(JobFailed) as caught:
        run_on(Job(fails), ["x"])
    assert caught.value.job.startswith("fails-")


def test_named_inputs_have_records_each():
    """A dict gives each input its records; a wrong one is refused with the names."""
    inputs = {"left": Input(lambda line: [tuple(line.split("="))]), "right": Input(by_name, format=JsonLines())}
    job = Job(inputs=inputs, reducer=Join())
    assert list(run_on(job, {"left": ["red=1"], "right": ROWS})) == [("red", ("1", 4)), ("red", ("1", 1))]
    with pytest.raises(UsageError, match="the inputs left, right"):
        run_on(job, {"left": []})


def test_what_a_function_raises_is_the_cause():
    """A test sees the user's own exception, with its traceback."""
    with pytest.raises(JobFailed) as caught:
        run_on(Job(lambda line: [(line, 1 / 0)]), ["a"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("job", "records"),
    [
        (Job(keys=str.split), ["two\nlines"]),
        (Job(keys=str.split), "a text"),
        (Job(keys=str.split), [b"bytes"]),
        (Job(keys=str.split), {"../up": ["a"]}),
        (Job(keys=str.split), {}),
        (Job(by_name, input=JsonLines()), [{1, 2}]),
        (Job(by_name, input=Csv()), [["a"]]),
        (Job(by_name, input=Csv()), [{"a": 1}, {"b": 1}] * 2),
        (Job(by_name, input=Parquet()), []),
        (Job(by_name, input=Msgpack()), [object()]),
        (Job(keys=lambda b: [b], input=FixedLength(2)), [b"abc"]),
        (Job(lambda content: [], input=Files()), [b"content"]),
        (Job(lambda content: [], input=Files()), {"name": 5}),
        (Job(by_name, input=Records()), [("a", 1)]),
    ],
)
def test_records_that_are_none_are_refused(job, records):
    """The error says what the records of this format are."""
    with pytest.raises(UsageError):
        run_on(job, records)


def test_splits_are_a_number():
    """None and nought are no numbers of splits."""
    with pytest.raises(UsageError, match="splits="):
        run_on(Job(keys=str.split), ["a"], splits=0)


def test_frames_are_read_like_any_other():
    """A job of frames gets the columns."""

    def totals(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(key="name", value="legs")

    assert dict(run_on(Job(totals, input=Parquet(), frames=True, reducer=Sum()), ROWS)) == {"red": 5, "blue": 2}
