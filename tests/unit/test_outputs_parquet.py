"""Parquet and Arrow parts: one type a column, found out from all records; the same bytes from any number of threads."""

import datetime as dt
import math
import os
import subprocess
import sys
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.outputs import columnar as outputs_columns
from mapreduce.dataflow.outputs.column_types import common_types, named_type, type_name, unify
from mapreduce.dataflow.outputs.columnar import group_rows, rewrite
from mapreduce.dataflow.outputs.files import TYPES_CHARS, Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import part_lines, read_back, read_part_records
from mapreduce.errors import OutputError, ValueTypeError

shared_folder = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOON, UTC = dt.datetime.fromisoformat("2024-05-01T12:00"), ZoneInfo("UTC")
SCALARS = {
    "str": st.text(st.characters(codec="utf-8"), max_size=9),
    "bytes": st.binary(max_size=9),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
}
COLUMNS = SCALARS | {
    "list": st.lists(st.none() | st.integers(0, 9), max_size=3),
    "dict": st.fixed_dictionaries({"b": st.none() | SCALARS["str"], "a": st.lists(SCALARS["float"], max_size=2)}),
    "nested": st.lists(st.none() | st.fixed_dictionaries({"x": SCALARS["bool"]}), max_size=3),
    "date": st.dates(),
    "datetime": st.datetimes(allow_imaginary=False).map(lambda moment: moment.replace(fold=0)),
}


def write(path, *chunks, keys=True):
    """Write chunks of (keys, values), each as one batch."""
    writer = PartWriter(path, "parquet", keys=keys)
    try:
        for some_keys, values in chunks:
            writer.write_batch(make_batch(some_keys, values))
        return writer.close()
    finally:
        writer.abort()


def read(path, keys=True):
    return list(read_part_records(path, "parquet", ("any",) if keys else (), ("any",)))


def test_records_come_back(tmp_path, monkeypatch):
    """Records of one type a column, with None among them, come back, also through the waiting file."""
    monkeypatch.setattr(outputs_columns, "FRAME_BYTES", 60)

    @shared_folder
    @given(data=st.data(), key=st.sampled_from(sorted(SCALARS)), value=st.sampled_from(sorted(COLUMNS)))
    def check(data, key, value):
        pairs = st.tuples(st.none() | SCALARS[key], st.none() | COLUMNS[value])
        chunks = data.draw(st.lists(st.lists(pairs, min_size=1, max_size=6), max_size=4))
        records = [pair for chunk in chunks for pair in chunk]
        info = write(tmp_path / "a", *[([k for k, _ in chunk], [v for _, v in chunk]) for chunk in chunks])
        assert read(tmp_path / "a") == [(0.0 if k == 0 and type(k) is float else k, v) for k, v in records]
        assert (info.records, info.size) == (len(records), (tmp_path / "a").stat().st_size)
        assert info.checksum == file_checksum(tmp_path / "a")
        assert pq.read_table(tmp_path / "a").to_pydict().keys() == {"key", "value"}

    check()


def test_columns_have_the_types_of_their_records(tmp_path):
    """Structs for dicts, lists for lists, tuples and arrays; a type that only a later record shows holds for all."""
    keys = [("a", "b"), ("c",)]
    first = {"word": "x", "scores": [], "day": None}
    later = {"word": None, "scores": [0.5, 1.0], "day": dt.date(2024, 5, 1)}
    info = write(tmp_path / "a", (keys[:1], [first]), (keys[1:], [later]))
    schema = pl.read_parquet_schema(tmp_path / "a")
    struct = pl.Struct({"word": pl.String, "scores": pl.List(pl.Float64), "day": pl.Date})
    assert schema == {"key": pl.List(pl.String), "value": struct}
    assert read(tmp_path / "a") == list(zip(keys, [first, later], strict=True))
    assert info.key_types == ('{"list":"str"}',)
    write(tmp_path / "b", (["x"], [np.arange(3)]), (["y"], [(4, 5)]), (["z"], [[]]))
    assert read(tmp_path / "b") == [("x", [0, 1, 2]), ("y", [4, 5]), ("z", [])]
    write(tmp_path / "c", ([math.nan], [math.nan]))
    assert repr(read(tmp_path / "c")) == "[(nan, nan)]"
    write(tmp_path / "d", ([1], [{"a": 1, "b": "x"}]), ([2], [{"b": "y", "a": 2}]))
    assert read(tmp_path / "d") == [(1, {"a": 1, "b": "x"}), (2, {"a": 2, "b": "y"})]


def test_values_alone_and_nothing(tmp_path):
    """Results that are values alone have one column; a part without records has columns too."""
    write(tmp_path / "a", ([None], ["x"]), keys=False)
    assert pl.read_parquet(tmp_path / "a").to_dict(as_series=False) == {"value": ["x"]}
    assert read(tmp_path / "a", keys=False) == [(None, "x")]
    info = write(tmp_path / "b")
    assert (info.records, info.key_types, info.value_types) == (0, (), ())
    assert pl.read_parquet_schema(tmp_path / "b").names() == ["key", "value"]
    assert read(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([(["a", "b"], [1, "x"])], ["values", "'x' is of another type than 1"]),
        ([(["a"], [1]), (["b"], ["x"])], ["values", "'x' is of another type than 1"]),
        ([(["a"], [1]), (["b"], [2.5])], ["2.5 is of another type than 1"]),
        ([([1], [0]), (["b"], [0])], ["keys", "'b' is of another type than 1"]),
        ([(["a"], [{"x": 1}]), (["b"], [{"y": 1}])], ["{'y': 1} is of another type than {'x': 1}"]),
        ([(["a"], [2**63])], ["9223372036854775808 of type int", "str(value)"]),
        ([(["a"], ["\ud800"])], ["of type str", "repr(value)"]),
        ([([(1, "a")], [0])], ["keys", "(1, 'a') of type tuple", "a dict with str keys"]),
        ([(["a"], [{1, 2}])], ["{1, 2} of type set", "sorted"]),
        ([(["a"], [{}])], ["{} of type dict"]),
    ],
)
def test_records_without_a_common_type(tmp_path, chunks, words, monkeypatch):
    """Records that make no column are an error that shows two of them, or one, and says what to do; no file is left."""
    monkeypatch.setattr(outputs_columns, "FRAME_BYTES", 1)
    with pytest.raises(ValueTypeError) as caught:
        write(tmp_path / "a", *chunks)
    for word in ["Parquet", "jsonl", *words]:
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_row_groups():
    """As many rows as keep the largest in bounds, but not so few that a footer is all there is."""
    assert group_rows([]) == outputs_columns.GROUP_ROWS
    assert group_rows([(1000, 8000)]) == outputs_columns.GROUP_ROWS
    assert group_rows([(1000, 8000), (8, outputs_columns.GROUP_BYTES)]) == 8
    assert group_rows([(1, outputs_columns.GROUP_BYTES * 2)]) == 1
    assert group_rows([(10**9, 8 * 10**9), (1, 1 << 40)]) == 10**5 + 1


def test_damaged_parts(tmp_path):
    """A part that is no Parquet is an error that names it."""
    (tmp_path / "a").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=str(tmp_path / "a")):
        read(tmp_path / "a")


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("values", "back", "name"),
    [
        ([(1, 2), (), None], [(1, 2), (), None], '{"tuple":"int"}'),
        ([("x", None), (None, "y")], [("x", None), (None, "y")], '{"tuple":"str"}'),
        ([[1], (2,)], [[1], [2]], 'changed {"list":"int"}'),
        ([((1,),)], [[[1]]], 'changed {"list":{"list":"int"}}'),
        ([{"a": (1,)}], [{"a": [1]}], 'changed {"dict":{"a":{"list":"int"}}}'),
        ([np.array([1.5])], [[1.5]], 'changed {"list":"float"}'),
        ([np.float32(0.5), 1.5], [0.5, 1.5], "changed float"),
        (
            [np.datetime64("2024-05-01T12:00", "us")],
            [dt.datetime.fromisoformat("2024-05-01T12:00")],
            "changed datetime",
        ),
        (
            [NOON.replace(tzinfo=dt.UTC), NOON.replace(tzinfo=UTC)],
            [NOON.replace(tzinfo=UTC)] * 2,
            "changed datetime UTC",
        ),
        (
            [{"at": NOON.replace(tzinfo=dt.UTC, fold=1)}],
            [{"at": NOON.replace(tzinfo=UTC)}],
            'changed {"dict":{"at":"datetime UTC"}}',
        ),
    ],
)
def test_what_columns_say_of_tuples_and_arrays(tmp_path, output_format, values, back, name):
    """Tuples alone come back as tuples; what comes back as something else, if an equal moment, is told."""
    writer = PartWriter(tmp_path / "a", output_format)
    for number, value in enumerate(values):
        writer.write_batch(make_batch([number], [value]))
    info = writer.close()
    assert info.value_types == (name,)
    found = list(read_part_records(tmp_path / "a", output_format, info.key_types, info.value_types))
    assert repr(found) == repr(list(enumerate(back)))
    assert bool(read_back(output_format, info.value_types, key=False)) is (repr(values) != repr(back))


def test_zones_without_a_name_are_refused(tmp_path):
    """A bare offset has no name that a file could keep: the error says how to get one."""
    moment = NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with pytest.raises(ValueTypeError, match=r"astimezone\(datetime.timezone.utc\), or a zone of zoneinfo"):
        write(tmp_path / "a", ([1], [moment]))


@pytest.mark.parametrize("value", [np.datetime64(1, "ns"), np.timedelta64(5, "M"), np.array([1], "timedelta64[Y]")])
def test_times_that_python_lacks_are_refused(tmp_path, value):
    """NumPy gives bare numbers for them, of which nobody knows the unit."""
    with pytest.raises(ValueTypeError, match="has none"):
        write(tmp_path / "a", ([1], [value]))


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
@pytest.mark.parametrize("part_size", [None, 2_000])
def test_bytes_do_not_depend_on_how_records_arrive(tmp_path, output_format, part_size, monkeypatch):
    """Frames, row groups and files are cut by the records alone, however many come at a time."""
    monkeypatch.setattr(outputs_columns, "FRAME_BYTES", 9_000)
    monkeypatch.setattr(outputs_columns, "GROUP_BYTES", 20_000)
    keys = [f"key{n}" for n in range(900)]
    values = [{"n": n, "text": f"{n * 2654435761 % 2**32:x}" * (1 + n % 9)} for n in range(900)]
    seen = set()
    for step in (900, 250, 33, 1):
        (tmp_path / str(step)).mkdir()
        writer = PartWriter(tmp_path / str(step) / "a", output_format, writing=Writing(part_size=part_size))
        for start in range(0, 900, step):
            writer.write_batch(make_batch(keys[start : start + step], values[start : start + step]))
        seen.add(writer.close())
    assert len(seen) == 1


@pytest.mark.parametrize("output_format", ["parquet", "arrow", "msgpack"])
def test_what_people_are_shown(tmp_path, output_format):
    """Dates and times, and keys of dicts that are no str, are text in what is printed."""
    moment = dt.datetime.fromisoformat("2024-05-01T12:30")
    values = [{"on": [moment.date()], "at": moment, "for": dt.timedelta(hours=1)}]
    wanted = '1\t{"on":["2024-05-01"],"at":"2024-05-01 12:30:00","for":"1:00:00"}\n'
    if output_format == "msgpack":
        values = [{1: {b"x": (None, "y")}}, {1: 2, "1": 3}]
        wanted = '1\t{"1":{"b\'x\'":[null,"y"]}}\n2\t{1: 2, \'1\': 3}\n'
    writer = PartWriter(tmp_path / "a", output_format)
    writer.write_batch(make_batch(list(range(1, len(values) + 1)), values))
    writer.close()
    ((text, records, others),) = part_lines(tmp_path / "a", output_format, keys=True)
    assert (text.decode(), records, others) == (wanted, len(values), 0)


def test_a_name_with_a_glob(tmp_path):
    """A folder with brackets in its name is that folder."""
    (tmp_path / "[ab]*").mkdir()
    write(tmp_path / "[ab]*" / "a", ([1], [2]))
    assert read(tmp_path / "[ab]*" / "a") == [(1, 2)]


def test_names_of_types():
    """A type's name in the manifest says it all, unless it is very long; names of parts' types unite to one."""
    times = (pl.Date(), pl.Time(), pl.Duration("us"), pl.Datetime("us"), pl.Datetime("us", "Europe/Berlin"))
    struct = pl.Struct({'a "b"': pl.List(pl.Struct({"é": pl.String}))})
    for dtype in (
        pl.Int64(),
        pl.List(pl.Null()),
        struct,
        *times,
        pl.List(pl.Struct(dict(zip("abcde", times, strict=True)))),
    ):
        assert named_type(type_name(dtype)) == dtype
    wide = pl.Struct({f"column{i}": pl.Int64() for i in range(500)})
    assert len(type_name(wide)) < 100
    assert named_type(type_name(wide)) is None
    assert named_type(type_name(wide, most=TYPES_CHARS)) == wide
    assert type_name(pl.List(wide), {"tuple"}).startswith("changed nested (")
    assert unify(pl.Struct({"a": pl.Int64()}), pl.Struct({"b": pl.Int64()})) is None
    assert unify(pl.List(pl.Null()), pl.List(pl.Int64())) == pl.List(pl.Int64())


def test_parts_get_the_types_that_they_have_in_common():
    """So that all parts together are one table: where there is one type, and its name says it."""
    names = {'{"dict":{"a":"int","b":"none"}}', '{"dict":{"a":"none","b":"str"}}'}
    keys, values, schema = common_types({"str"}, names, 99)
    assert (keys, values) == ({"str"}, {'{"dict":{"a":"int","b":"str"}}'})
    assert schema == {"key": pl.String, "value": pl.Struct({"a": pl.Int64, "b": pl.String})}
    assert common_types({"str"}, {"int", "float"}, 99) == ({"str"}, {"int", "float"}, None)
    assert common_types(set(), set(), 99) == (set(), set(), None)
    assert common_types({"str"}, {"nested (0)"}, 99) == ({"str"}, {"nested (0)"}, None)
    assert common_types(set(), {"int", "none"}, 99) == (set(), {"int"}, {"value": pl.Int64})
    lists = {'{"tuple":"none"}', '{"tuple":"int"}', "none"}
    assert common_types(set(), lists, 99) == (set(), {'{"tuple":"int"}'}, {"value": pl.List(pl.Int64)})
    changed = {'changed {"list":"int"}'}
    assert common_types(set(), {*lists, '{"list":"int"}'}, 99)[1] == changed
    assert common_types(set(), {'{"list":"int"}', *changed}, 99)[1] == changed


def test_a_part_is_written_again(tmp_path):
    """With other columns it has the same records, also if they are many; the same bytes each time."""
    records = [(f"k{n}", {"n": n, "s": None}) for n in range(100_000)]
    write(tmp_path / "a", ([key for key, _ in records], [value for _, value in records]))
    schema = pl.Schema({"key": pl.String, "value": pl.Struct({"n": pl.Int64, "s": pl.List(pl.Date)})})
    facts = {rewrite(tmp_path / "a", tmp_path / name, schema, "parquet") for name in ("b", "c")}
    assert facts == {((tmp_path / "b").stat().st_size, file_checksum(tmp_path / "b"))}
    assert pl.read_parquet_schema(tmp_path / "b") == schema
    assert read(tmp_path / "b") == records
    write(tmp_path / "d")
    rewrite(tmp_path / "d", tmp_path / "e", pl.Schema({"value": pl.Int64}), "parquet")
    assert pl.read_parquet(tmp_path / "e").schema == {"value": pl.Int64}


WRITE_MUCH = """
import resource, sys
from pathlib import Path
from mapreduce.dataflow.outputs import columnar as outputs_columns
from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs.parts import PartWriter

outputs_columns.FRAME_BYTES, outputs_columns.GROUP_BYTES = 1 << 20, 4 << 20
path, rows = Path(sys.argv[1]), int(sys.argv[2])
writer = PartWriter(path, sys.argv[3])
for start in range(0, rows, 256):
    numbers = range(start, min(start + 256, rows))
    texts = [{"id": n, "text": f"{n * 2654435761 % 2**32:x}" * 500, "some": [n % 7]} for n in numbers]
    writer.write_batch(make_batch([f"key{n}" for n in numbers], texts))
print(writer.close(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
def test_bytes_do_not_depend_on_threads_nor_memory_on_size(tmp_path, output_format):
    """The same part from one thread and from four; 80 MB of records need little more memory than 8 MB."""
    seen = {}
    for name, threads, rows in (("small", 1, 2_000), ("one", 1, 20_000), ("four", 4, 20_000)):
        command = [sys.executable, "-c", WRITE_MUCH, str(tmp_path / name), str(rows), output_format]
        env = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
        seen[name] = done.stdout.strip().rpartition(" ")
    assert seen["one"][0] == seen["four"][0]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "four").read_bytes()
    if output_format == "parquet":
        assert pq.ParquetFile(tmp_path / "one").metadata.num_row_groups > 10
    else:
        assert ipc.open_file(tmp_path / "one").num_record_batches > 10
    assert int(seen["one"][2]) < int(seen["small"][2]) + 40  # MB
