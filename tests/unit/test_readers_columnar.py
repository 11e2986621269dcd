"""Parquet and Arrow: any file, cut anywhere, is what pyarrow reads, and only what is needed of it is read."""

import datetime as dt
import decimal
from contextlib import contextmanager

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
from columnar_files import ROWS, TABLE, pairs, readers, write
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Arrow, Parquet
from mapreduce.dataflow.columns.batches import records_of
from mapreduce.dataflow.inputs.input_file import open_piece
from mapreduce.dataflow.readers import columnar as readers_columnar
from mapreduce.dataflow.readers.columnar import frame_bytes
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError


class Sparse:
    """A file as a store has it: on this machine are the ranges that were asked for, and zeros. Counts bytes."""

    def __init__(self, file, size, copy):
        self.file, self.size, self.copy = file, size, copy
        self.read = self.fetched = 0

    def read_at(self, size, offset):
        data = self.file.read_at(size, offset)
        self.read += len(data)
        return data

    def local_path(self, ranges=None):
        assert ranges is not None
        with self.copy.open("r+b" if self.fetched else "wb") as copy:
            copy.truncate(self.size)
            for one in ranges:
                assert 0 <= one.start < one.stop <= self.size
                copy.seek(one.start)
                self.fetched += copy.write(self.file.read_at(len(one), one.start))
        return str(self.copy)


@pytest.fixture
def sparse(tmp_path, monkeypatch):
    """All pieces are opened as sparse files, which it lists, and little is fetched of them at a time."""
    opened = []
    monkeypatch.setattr(readers_columnar, "SPAN_BYTES", 5000)

    @contextmanager
    def open_sparse(piece):
        with open_piece(piece) as file:
            opened.append(Sparse(file, piece.file_size, tmp_path / f"copy-{len(opened)}"))
            yield opened[-1]

    monkeypatch.setattr(readers_columnar, "open_piece", open_sparse)
    return opened


VALUES = {
    "int": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "text": (pa.string(), st.text(max_size=8)),
    "word": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["red", "green", "", "é"])),
    "list": (pa.list_(pa.float32()), st.lists(st.none() | st.floats(width=32, allow_nan=False), max_size=3)),
    "struct": (pa.struct([("a", pa.bool_()), ("b", pa.list_(pa.binary()))]), st.fixed_dictionaries(
        {"a": st.none() | st.booleans(), "b": st.none() | st.lists(st.binary(max_size=3), max_size=2)}
    )),
    "moment": (pa.timestamp("us", "Europe/Rome"), st.integers(0, 2**50)),
    "price": (pa.decimal128(12, 3), st.decimals(-999, 999, places=3)),
    "none": (pa.null(), st.none()),
}  # fmt: skip


@st.composite
def tables(draw):
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    height = draw(st.integers(0, 30))
    columns = {}
    for name in names:
        dtype, values = VALUES[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=height, max_size=height)), dtype)
    return pa.table(columns)


KINDS = [
    (Parquet(), {"compression": "zstd", "data_page_version": "2.0"}),
    (Parquet(), {"compression": "none", "use_dictionary": False, "data_page_size": 16}),
    (Arrow(), {}),
    (Arrow(), {"compression": "lz4"}),
    (Arrow(), {"stream": True, "compression": "zstd"}),
]


@settings(max_examples=60, deadline=None)
@given(table=tables(), rows=st.integers(1, 12), pieces=st.integers(1, 9), kind=st.sampled_from(KINDS), data=st.data())
def test_any_cut_gives_the_same_rows(tmp_path_factory, table, rows, pieces, kind, data):
    """However a file was written, and wherever it is cut, each row comes once, in order, with its number."""
    form, options = kind
    path = write(tmp_path_factory.mktemp("columnar") / "in", table, form, rows, **options)
    size = -(-path.stat().st_size // pieces)
    wanted = list(enumerate(table.to_pylist()))
    assert pairs(path, form) == wanted
    assert pairs(path, form, size) == wanted
    names = data.draw(st.lists(st.sampled_from(table.column_names), min_size=1, unique=True))
    chosen = type(form)(columns=tuple(names))
    rows_of = [(number, {name: row[name] for name in names}) for number, row in wanted]
    assert [(n, list(row.items())) for n, row in pairs(path, chosen, size)] == [
        (n, list(row.items())) for n, row in rows_of
    ]
    frames = [frame.frame for one in readers(path, form, size) for frame in one.frames(100)]
    assert [row for frame in frames for row in frame.to_dicts()] == table.to_pylist()


def spread(found, wanted):
    """Assert that all pieces together gave all rows, and more than one of them any."""
    assert [pair for rows in found for pair in rows] == wanted
    assert sum(map(bool, found)) > 2


@pytest.mark.parametrize("columns", [("kind", "id"), ("tags",), None], ids=repr)
def test_only_what_is_needed_of_parquet_is_read(tmp_path, sparse, columns):
    """Of a row group the chunks of the chosen columns, by one task; of the file besides nothing but its footer."""
    path = write(tmp_path / "in.parquet", TABLE, Parquet(), 500, compression="none")
    size = path.stat().st_size
    found = [list(one) for one in readers(path, Parquet(columns), size // 5)]
    rows = [[pair for block in one for pair in zip(block.firsts(), block.values, strict=True)] for one in found]
    spread(rows, list(enumerate(TABLE.select(columns or TABLE.column_names).to_pylist())))
    metadata = pa.parquet.read_metadata(path)
    chunks = [metadata.row_group(i).column(j) for i in range(8) for j in range(metadata.num_columns)]
    chosen = [one for one in chunks if columns is None or one.path_in_schema.split(".")[0] in columns]
    needed = sum(one.total_compressed_size for one in chosen)
    assert columns is None or needed < size / 2
    each = metadata.serialized_size + 12 + 100 * len(chosen)  # the footer's frame, and what old writers forgot
    assert needed <= sum(one.fetched for one in sparse) <= needed + len(sparse) * each
    assert sum(one.read for one in sparse) <= len(sparse) * each


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("columns", [("kind", "id"), ("tags",), None], ids=repr)
def test_only_what_is_needed_of_arrow_is_read(tmp_path, sparse, columns, compression):
    """Of a record batch the buffers of the chosen columns, by one task; of all others how many rows they have."""
    path = write(tmp_path / "in.arrow", TABLE, Arrow(), 500, compression=compression)
    size = path.stat().st_size
    found = [list(one) for one in readers(path, Arrow(columns), size // 5)]
    rows = [[pair for block in one for pair in zip(block.firsts(), block.values, strict=True)] for one in found]
    spread(rows, list(enumerate(TABLE.select(columns or TABLE.column_names).to_pylist())))
    alone = write(
        tmp_path / "alone.arrow", TABLE.select(columns or TABLE.column_names), Arrow(), 500, compression=compression
    )
    overhead = 8 * 1200 + 3000  # eight batches' metadata, schema, dictionary and footer
    assert sum(one.fetched for one in sparse) < alone.stat().st_size + len(sparse) * overhead
    assert columns is None or compression or sum(one.fetched for one in sparse) < size / 2
    assert sum(one.read for one in sparse) < len(sparse) * 3000, "the footer alone"


TYPES = {
    "half": pa.array([1.5, None], pa.float16()),
    "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
    "decimal": pa.array([decimal.Decimal("-1.20"), None], pa.decimal128(38, 2)),
    "seconds": pa.array([dt.datetime(2020, 1, 1, 12), None], pa.timestamp("s")),  # noqa: DTZ001
    "offset": pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("ms", "+05:30")),
    "zone": pa.array([dt.datetime(2020, 7, 1, tzinfo=dt.UTC), None], pa.timestamp("ns", "America/Lima")),
    "date": pa.array([dt.date(1, 1, 1), None]),
    "time": pa.array([dt.time(23, 59, 59, 999999), None], pa.time64("us")),
    "duration": pa.array([dt.timedelta(days=-3), None], pa.duration("ms")),
    "large": pa.array(["x" * 100_000, None], pa.large_string()),
    "view": pa.array(["a long text in a view", None], pa.string_view()),
    "bytes": pa.array([b"\0\xff", None], pa.binary_view()),
    "fixed": pa.array([b"ab", None], pa.binary(2)),
    "array": pa.array([[1, 2], None], pa.list_(pa.int32(), 2)),
    "deep": pa.array([[{"a": [{"b": None}, {"b": ["x"]}]}, None], None]),
    "words": pa.array([["x", "y"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "numbers": pa.array([5, None]).dictionary_encode(),
    "json": pa.array(["{}", None], pa.json_()),
}


@pytest.mark.parametrize("form", [Parquet(), Arrow()], ids=repr)
@pytest.mark.parametrize("name", TYPES)
def test_types_come_back_as_pyarrow_reads_them(tmp_path, sparse, form, name):
    """Beside another column, alone, and behind views and nested columns, whose buffers must be counted right."""
    table = pa.table({"view": TYPES["view"], "deep": TYPES["deep"], name: TYPES[name], "last": [1, 2]})
    path = write(tmp_path / "in", table, form, 1)
    assert [row for _, row in pairs(path, form, 300)] == table.to_pylist()
    chosen = type(form)((name, "last"))
    assert [row for _, row in pairs(path, chosen, 300)] == table.select([name, "last"]).to_pylist()
    assert [f.frame.height for one in readers(path, form) for f in one.frames(1)] == [1, 1]


@pytest.mark.parametrize("form", [Parquet(), Arrow()], ids=repr)
def test_types_that_python_has_otherwise(tmp_path, form):
    """A map is a dict, and of two equal keys the last counts; a UUID is its bytes."""
    maps = pa.array([[("a", 1), ("b", 2), ("a", 3)], None], pa.map_(pa.string(), pa.int64()))
    table = pa.table({"map": maps, "uuid": pa.array([b"0123456789abcdef", None], pa.uuid())})
    path = write(tmp_path / "in", table, form)
    wanted = {"map": {"a": 3, "b": 2}, "uuid": b"0123456789abcdef"}
    assert [row for _, row in pairs(path, form)] == [wanted, {"map": None, "uuid": None}]
    assert [f.frame.height for one in readers(path, form) for f in one.frames()] == [2]


@pytest.mark.parametrize("form", [Parquet(), Arrow()], ids=repr)
def test_what_polars_writes(tmp_path, form):
    """Its categories and enums are texts, and its files are read as pyarrow's are."""
    kind = pl.Enum(["low", "high"])
    frame = pl.DataFrame(
        {
            "n": range(100),
            "kind": pl.Series([("low", "high", None)[i % 3] for i in range(100)], dtype=kind),
            "word": pl.Series([str(i % 5) for i in range(100)], dtype=pl.Categorical),
        }
    )
    path = tmp_path / "in"
    if isinstance(form, Parquet):
        frame.write_parquet(path, row_group_size=10)
    else:
        frame.write_ipc(path, record_batch_size=10)
    assert pairs(path, form, 700) == list(enumerate(frame.to_dicts()))


def test_streams_with_dictionaries_that_change(tmp_path):
    """A stream's batch is read with the dictionary that stands before it; pieces of one (deltas) are refused."""
    schema = pa.schema([("word", pa.dictionary(pa.int8(), pa.string()))])
    batches = [
        pa.record_batch([pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), words)], schema=schema)
        for words in (["a", "b"], ["a", "b", "c"], ["z", "y"])
    ]
    for form in ("stream", "delta"):
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=form == "delta")
        with pa.ipc.new_stream(tmp_path / form, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
    wanted = [row for batch in batches for row in batch.to_pylist()]
    assert pairs(tmp_path / "stream", Arrow(), 200) == list(enumerate(wanted))
    with pytest.raises(InputError, match=r"delta cannot be read as Arrow IPC: the dictionary 0 comes in pieces"):
        pairs(tmp_path / "delta", Arrow())


@pytest.mark.parametrize("form", [Parquet(), Arrow(), "stream"], ids=repr)
def test_files_without_rows(tmp_path, form):
    """Row groups of no rows are passed over, and a file of none has no records; its columns are checked still."""
    stream, form = form == "stream", Arrow() if form == "stream" else form
    table = TABLE.select(["id", "text", "tags"])
    empty = pa.RecordBatch.from_pylist([], table.schema)
    gaps = [empty, *table[:2].to_batches(), empty, *table[2:3].to_batches(), empty]
    opener = pa.ipc.new_stream if stream else pa.ipc.new_file
    for name, batches in {"none": [], "gaps": gaps}.items():
        path = tmp_path / name
        with (pa.parquet.ParquetWriter if isinstance(form, Parquet) else opener)(path, table.schema) as file:
            for batch in batches:
                file.write_batch(batch)
        wanted = table[:3].to_pylist() if batches else []
        assert pairs(path, form, 500) == list(enumerate(wanted))
        with pytest.raises(UnreadableRecord, match=f"{name} has no column 'url': its columns are 'id', 'text'"):
            pairs(path, type(form)(("id", "url")))


@pytest.mark.parametrize("form", [Parquet(), Arrow()], ids=repr)
def test_memory_holds_a_slice(tmp_path, form):
    """A row group or record batch that is larger than a frame comes in several, whose bytes were asked for."""
    path = write(tmp_path / "in", TABLE, form)
    frames = [frame.frame for one in readers(path, form) for frame in one.frames(20_000)]
    assert pl.concat(frames).height == ROWS
    assert max(map(frame_bytes, frames)) < 40_000
    few = [frame.frame for one in readers(write(path, TABLE, form, 10), form) for frame in one.frames(1 << 20)]
    assert len(few) < 20, "small row groups are read together"


def test_columns_hold_the_same_records_as_objects(tmp_path):
    """What passes through without a mapper is what a mapper would get, whichever piece it comes in."""
    path = write(tmp_path / "in", TABLE[:50], Arrow(), 7)
    found = [pair for one in readers(path, Arrow(), 900) for batch in one.columns() for pair in records_of(batch)]
    assert found == pairs(path, Arrow())
