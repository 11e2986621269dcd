"""Objects of the standard library that a mapper holds: judged by what they were made of, and so are edits of that."""

import functools
import json
import struct

import pytest
from identities import identity

from mapreduce.identity.steps import changed_since
from mapreduce.identity.walk import fingerprint

END = "def reducer(key, values):\n    yield key, sum(values)\n"
AREA = """
import functools
@functools.singledispatch
def area(value, times=1):
    return 1
@area.register
def _(value: int, times=1):
    return 2
area.limit = 3
def mapper(line):
    yield area(line), area.limit
"""
METHOD = """
import functools
class Shape:
    @functools.singledispatchmethod
    def area(self, value):
        return 1
    @area.register
    def _(self, value: int):
        return 2
SHAPE = Shape()
def mapper(line):
    yield SHAPE.area(line), 1
"""
PACKED = "import struct\nPACKED = struct.Struct('<i')\ndef mapper(line):\n    yield PACKED.unpack(line), 1\n"
DECODER = """
import json
def hook(found):
    return 1
DECODER = json.JSONDecoder(object_hook=hook)
def mapper(line):
    yield DECODER.decode(line), 1
"""
ENCODER = DECODER.replace("JSONDecoder(object_hook=", "JSONEncoder(sort_keys=True, default=").replace(
    "decode", "encode"
)
OWN = DECODER.replace("def hook", "class Own(json.JSONDecoder): pass\ndef hook").replace("= json.JSONDecoder", "= Own")
EDITS = {
    "a format": (PACKED, "<i", "<q"),
    "a decoder's hook": (DECODER, "return 1", "return 2"),
    "a decoder's other hook": (DECODER, "object_hook=", "object_pairs_hook="),
    "how strict a decoder is": (DECODER, "object_hook=hook", "object_hook=hook, strict=False"),
    "an own decoder's hook": (OWN, "return 1", "return 2"),
    "an encoder's function": (ENCODER, "return 1", "return 2"),
    "an encoder's option": (ENCODER, "sort_keys=True", "sort_keys=False"),
    "a dispatching function": (AREA, "return 1", "return 3"),
    "a function that it calls": (AREA, "return 2", "return 3"),
    "the type for which it does": (AREA, "value: int", "value: str"),
    "an attribute of it": (AREA, "limit = 3", "limit = 4"),
    "a dispatching method": (METHOD, "return 2", "return 3"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_library_objects_are_made_of_shows(name):
    """The mapper is judged, and what it holds counts; what is not edited is the same."""
    source, old, new = EDITS[name]
    assert source.count(old) == 1
    one, same, other = (identity(text + END) for text in (source, source, source.replace(old, new)))
    assert not [digest for digest in one[0].maps.values() if " " in digest]
    assert changed_since(one, same) == ()
    assert "mapper" in changed_since(one, other)


def test_what_was_looked_up_before_leaves_no_trace():
    """Objects that remember what they were called with are the same before and after."""
    area = functools.singledispatch(len)
    decoder = json.JSONDecoder()
    packed = struct.Struct("<i")
    before = fingerprint(area, decoder, packed)
    assert before.unjudged == ""
    area("text")
    decoder.decode('{"a": [1]}')
    packed.pack(1)
    assert fingerprint(area, decoder, packed) == before


def test_a_scanner_that_is_not_its_decoders_shows():
    """A decoder reads with the hooks that it was made with, whatever was put into its attributes later."""
    one, other = json.JSONDecoder(), json.JSONDecoder()
    other.scan_once = json.JSONDecoder(parse_float=str).scan_once
    assert fingerprint(one) != fingerprint(other)
