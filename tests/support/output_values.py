"""Values of every type that outputs hold, written as parts."""

import math
import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs.parts import PartWriter

shared_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
TEXT = (
    st.text(st.characters(codec=None), max_size=12)
    | st.text(alphabet="\t\n\r\\tnu\ud800\udfffabd80\u2028", max_size=12)
).filter(lambda text: not PAIR.search(text))
INTS = st.integers() | st.sampled_from([2**63, -(2**63) - 1, 10**40])
FLOATS = st.floats() | st.sampled_from([1e-5, 1e-4, 9.999e15, 1e16, 1e22, 5e-324, -0.0])
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
COLUMNS = {
    "str": TEXT,
    "int": INTS,
    "float": FLOATS,
    "bool": st.booleans(),
    "none": st.none(),
    "bytes": st.binary(max_size=9),
    "list": st.lists(JSON, max_size=4),
    "dict": st.dictionaries(TEXT, JSON, max_size=3),
    "tuple": st.lists(JSON, max_size=4).map(tuple),
}


def same(a, b):
    """Equal, with types, NaN being itself and -0.0 not 0.0."""
    if type(a) is not type(b):
        return False
    if type(a) in {list, tuple}:
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    if type(a) is float:
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def write(path, keys, values, output_format="tsv"):
    writer = PartWriter(path, output_format)
    try:
        writer.write_batch(make_batch(keys, values))
        return writer.close()
    finally:
        writer.abort()
