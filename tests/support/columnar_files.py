"""Parquet and Arrow files, written with pyarrow and read with our readers."""

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet

from mapreduce import Parquet
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.plan import TaskOptions

WHOLE = 1 << 40


def readers(path, form, size=WHOLE, aside=None):
    splits = plan_splits(find_inputs([str(path)], form), size, input_format=form)
    return [reader_for(form, split, TaskOptions("", ""), aside) for split in splits]


def pairs(path, form, size=WHOLE):
    found = readers(path, form, size)
    rows = [pair for one in found for block in one for pair in zip(block.firsts(), block.values, strict=True)]
    assert sum(one.bytes_read for one in found) == path.stat().st_size
    return rows


def write(path, table, form, rows=None, **options):
    """Write a table with pyarrow: `rows` in a row group or record batch."""
    if isinstance(form, Parquet):
        pa.parquet.write_table(table, path, row_group_size=rows, **options)
        return path
    stream = options.pop("stream", False)
    opener = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opener(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


ROWS = 4000
TABLE = pa.table(
    {
        "id": list(range(ROWS)),
        "text": [f"text {i} " * 20 for i in range(ROWS)],
        "kind": pa.array([("a", "b", None)[i % 3] for i in range(ROWS)]).dictionary_encode(),
        "tags": [{"name": str(i), "all": [i] * (i % 3)} for i in range(ROWS)],
    }
)
