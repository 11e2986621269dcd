"""Parts in any format, written and read back."""

import bz2
import gzip
import json
import lzma

import lz4.frame
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_part_records

shared_folder = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLAIN = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(alphabet=',"\r\n \tab\ufeff#', max_size=8)
FLOATS = st.floats(allow_nan=False)
UNPACK = {
    "": lambda data: data,
    "gz": gzip.decompress,
    "bz2": bz2.decompress,
    "xz": lzma.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


def write(path, output_format, *chunks, keys=True, **writing):
    """Write chunks of (keys, values), a batch each."""
    writer = PartWriter(path, output_format, keys=keys, writing=Writing(**writing))
    try:
        for chunk in chunks:
            writer.write_batch(make_batch(*chunk))
        return writer.close()
    finally:
        writer.abort()


def read(path, output_format, info):
    return list(read_part_records(path, output_format, info.key_types, info.value_types))


def same(a, b):
    return json.dumps(a, default=repr) == json.dumps(b, default=repr)
