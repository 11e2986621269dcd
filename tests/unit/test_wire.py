"""Messages as bytes: what is written comes back, and nothing else is let in."""

import dataclasses
import enum
import types
import typing

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.config import CONTROL_FRAME_BYTES
from mapreduce.coordinator.entries import ENTRY_TYPES
from mapreduce.errors import WireError
from mapreduce.plan import AttemptId, Done, JobSpec, Limits, PartInfo, StepShape, TaskId, TaskKind
from mapreduce.protocol import messages, plain, wire

TEXT = st.text(max_size=12)


def strategy_for(annotation):
    """Any value of a field's annotation, as our messages use them."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is str:
        return TEXT
    if annotation is bytes:
        return st.binary(max_size=12)
    if annotation is int:
        return st.integers(0, 2**63 - 1)
    if annotation is float:
        return st.floats(0, 1e9)
    if annotation is bool:
        return st.booleans()
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return st.lists(strategy_for(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy_for, arguments))
    if origin is dict:
        return st.dictionaries(strategy_for(arguments[0]), strategy_for(arguments[1]), max_size=3)
    if origin in {types.UnionType, typing.Union}:
        return st.one_of(*[st.none() if a is type(None) else strategy_for(a) for a in arguments])
    if issubclass(annotation, enum.Enum):
        return st.sampled_from(list(annotation))
    hints = typing.get_type_hints(annotation)
    return st.builds(annotation, **{f.name: strategy_for(hints[f.name]) for f in dataclasses.fields(annotation)})


@pytest.mark.parametrize("cls", wire.MESSAGE_TYPES.values(), ids=wire.MESSAGE_TYPES)
def test_every_message_comes_back_as_it_was(cls):
    """Each message type survives the way through a frame, whatever its fields hold."""

    @settings(max_examples=15, deadline=None)
    @given(strategy_for(cls), TEXT, st.integers(0, 2**40))
    def round_trip(message, session, number):
        envelope = wire.Envelope(session, number, message)
        assert wire.decode(wire.encode(envelope)) == envelope

    round_trip()


def looped(value):
    """The plain form by a loop over the fields, without those at the end that are as by default."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [looped(item) for item in value]
    if isinstance(value, dict):
        return {key: looped(item) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    left = list(dataclasses.fields(value))
    while left and is_as_by_default(left[-1], getattr(value, left[-1].name)):
        left.pop()
    return [looped(getattr(value, field.name)) for field in left]


def is_as_by_default(field, value):
    """Whether a field may be left out; floats never are, nor dataclasses."""
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    plain_kind = type(value) in {bool, int, str, bytes, type(None), tuple, dict}
    return made is not dataclasses.MISSING and plain_kind and type(made) is type(value) and made == value


@pytest.mark.parametrize("cls", [*wire.MESSAGE_TYPES.values(), *ENTRY_TYPES.values()], ids=lambda cls: cls.__name__)
def test_what_is_written_for_a_type_gives_what_a_loop_gives(cls):
    """The functions that are written for each type give the bytes that a loop over its fields would."""

    @settings(max_examples=15, deadline=None)
    @given(strategy_for(cls))
    def same(value):
        assert plain.to_plain(value) == looped(value)
        assert plain.unpack(cls, plain.pack(value)) == value

    same()


def test_only_the_wire_types_are_in_the_table():
    """The table of message types holds the documented unions and nothing that came by accident."""
    assert set(wire.MESSAGE_TYPES.values()) == set(typing.get_args(messages.Message))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_wire_error(data):
    """A frame of any bytes is refused with WireError, never with another exception."""
    with pytest.raises(WireError):
        wire.decode(data)


VALID = wire.encode(
    wire.Envelope(
        "s",
        3,
        messages.AttemptDone(
            AttemptId(TaskId("j", 0, TaskKind.MAP, 1), 2), Done(part=PartInfo(1, 2, "ab"), counters={"docs": 3})
        ),
    )
)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_gives_a_well_typed_message(position, change):
    """A frame with one changed byte either raises WireError or decodes to the declared types."""
    data = bytearray(VALID)
    data[position] ^= change
    try:
        envelope = wire.decode(bytes(data))
    except WireError:
        return
    assert type(envelope.message) in wire.MESSAGE_TYPES.values()
    assert wire.decode(wire.encode(envelope)) == envelope


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([9, "Heartbeat", "s", 0, [1, 2]], "protocol version 9"),
        ([3, "Nonsense", "s", 0, []], "Nonsense"),
        ([3, "Heartbeat", "s", -1, [1, 2]], "session or number"),
        ([3, "Heartbeat", "s", 0, [1]], "Heartbeat of 2 fields"),
        ([3, "Heartbeat", "s", 0, [1, "2"]], "expected int, got str"),
        ([3, "Heartbeat", "s", 0, [True, 2]], "expected int, got bool"),
        ({"a": 1}, "not a frame"),
        ([3, "CancelAttempt", "s", 1, [[["j", 0, "paint", 0], 1]]], "expected TaskKind"),
    ],
)
def test_the_error_says_what_does_not_fit(body, said):
    """A frame of the wrong shape is refused with the part that does not fit."""
    with pytest.raises(WireError, match=said):
        wire.decode(msgpack.packb(body))


def test_a_frame_over_the_limit_is_refused_on_both_sides():
    """The size limit of a control frame holds when writing and when reading."""
    with pytest.raises(WireError, match="limit"):
        wire.encode(wire.Envelope("", 0, messages.Rejected("x" * CONTROL_FRAME_BYTES)))
    with pytest.raises(WireError, match="limit"):
        wire.decode(b"x" * (CONTROL_FRAME_BYTES + 1))


@pytest.mark.parametrize("message", [messages.Rejected("\udc80"), messages.GetLogs("j", 2**64)])
def test_what_no_frame_can_hold_is_a_wire_error(message):
    """A lone surrogate, or an integer beyond 64 bits, is a WireError at the sender that names the message."""
    with pytest.raises(WireError, match=type(message).__name__):
        wire.encode(wire.Envelope("", 0, message))


def test_deep_nesting_is_a_wire_error():
    """Arrays nested thousands deep are refused, not a crash."""
    with pytest.raises(WireError):
        wire.decode(b"\x91" * 100_000 + b"\xc0")


def test_a_job_spec_packs_to_the_same_bytes_each_time():
    """Packing is a function of the value alone: content addresses depend on it."""
    spec = JobSpec("j", "n", (StepShape(3, 1),), "c", "s", "p", "q", "/out", 10)
    assert plain.pack(spec) == plain.pack(dataclasses.replace(spec))
    assert plain.unpack(JobSpec, plain.pack(spec)) == spec


def test_what_has_no_plain_form_is_refused_when_written():
    """A field that is not plain is a TypeError where it is packed, not a surprise at the reader."""
    with pytest.raises(TypeError, match="object has no plain form"):
        plain.to_plain(object())
    assert plain.unpack(Limits, plain.pack(Limits())) == Limits()
