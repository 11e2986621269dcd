"""Values as lines of text: what a line can hold, and what it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs import plain_text
from mapreduce.errors import ValueTypeError

VALUES = st.lists(st.text(st.sampled_from("a\r\n é"), max_size=4), min_size=1, max_size=20)


def batch_of(values):
    return make_batch([0] * len(values), values)


@given(VALUES)
def test_lines_are_the_values_or_the_first_that_is_none_is_named(values):
    """A value with a newline in it, or a carriage return at its end, would come back as another one: it is refused."""
    broken = [value for value in values if "\n" in value or value.endswith("\r")]
    if broken:
        with pytest.raises(ValueTypeError) as caught:
            plain_text.encode(batch_of(values), set())
        assert f"cannot write the value {broken[0]!r}: it has a line break in it" in str(caught.value)
        return
    types = set()
    data = plain_text.encode(batch_of(values), types)
    assert data == "".join(f"{value}\n" for value in values).encode()
    assert types == {"str"}
    assert plain_text.read(data.decode()) == values


@pytest.mark.parametrize("value", [1, None, b"a", "\ud800"])
def test_only_text_is_a_line(value):
    """Anything else is refused by its type."""
    with pytest.raises(ValueTypeError, match="text output cannot write the value"):
        plain_text.encode(batch_of(["a", value]), set())


def test_many_lines_are_counted_in_pieces():
    """Lines that go over the borders of pieces are all there, and one that is broken among them is found."""
    values = [f"{i} " * 20 for i in range(20_000)]
    data = plain_text.encode(batch_of(values), set())
    assert len(data) > 4 * plain_text.COUNTED_BYTES
    assert data == "".join(f"{value}\n" for value in values).encode()
    values[15_000] = "two\nlines"
    with pytest.raises(ValueTypeError, match="cannot write the value 'two"):
        plain_text.encode(batch_of(values), set())
