"""Dataclasses whose methods are written late are like the library's own."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field

import pytest

from mapreduce.quick_dataclass import dataclass


def classes(decorate):
    """The same classes, made by a decorator: one that is frozen, one of it, and one that may change."""

    @decorate(frozen=True, slots=True)
    class Frozen:
        """Fields of all kinds."""

        a: int
        b: list = field(default_factory=list)
        c: str = "c"
        d: int = field(default=3, kw_only=True)
        e: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    @decorate(frozen=True, slots=True)
    class Extended(Frozen):
        """With a field more."""

        f: int = 9

        def __post_init__(self):
            if self.f < 0:
                raise ValueError("f is negative")

    @decorate(slots=True)
    class Open:
        """May change."""

        a: int = 0

    return Frozen, Extended, Open


OURS, THEIRS = classes(dataclass), classes(dataclasses.dataclass)


@dataclass(frozen=True, slots=True)
class Pair:
    """At the top of a module, where pickles find it."""

    left: int
    right: tuple[int, ...] = ()


def outcome(call):
    """What a call gives, or the type and text of what it raises; places in functions are left out."""
    try:
        found = call()
    except (TypeError, ValueError, AttributeError) as error:
        return type(error), str(error)
    return repr(found).replace("classes.<locals>.", "")


CALLS = [
    lambda frozen, _extended, _open: frozen(1),
    lambda frozen, _extended, _open: frozen(1, [2], d=4),
    lambda frozen, _extended, _open: frozen(),
    lambda frozen, _extended, _open: frozen(1, [], "", 4),
    lambda frozen, _extended, _open: frozen(1) == frozen(1),
    lambda frozen, _extended, _open: frozen(1) == frozen(2),
    lambda frozen, extended, _open: frozen(1) == extended(1),
    lambda frozen, _extended, _open: frozen(1).e,
    lambda frozen, _extended, _open: hash(frozen(1)),
    lambda frozen, _extended, _open: hash(frozen(1, ())) == hash((1, (), "c", 3)),
    lambda frozen, _extended, _open: setattr(frozen(1), "a", 2),
    lambda frozen, _extended, _open: delattr(frozen(1), "a"),
    lambda frozen, _extended, _open: dataclasses.replace(frozen(1), c="new"),
    lambda frozen, _extended, _open: dataclasses.asdict(frozen(1)),
    lambda frozen, _extended, _open: copy.copy(frozen(1, [2])),
    lambda frozen, _extended, _open: copy.deepcopy(frozen(1, [2])),
    lambda frozen, _extended, _open: frozen.__match_args__,
    lambda _frozen, extended, _open: extended(1, f=2),
    lambda _frozen, extended, _open: extended(1, f=-1),
    lambda _frozen, extended, _open: extended.__slots__,
    lambda _frozen, _extended, opened: opened(5),
    lambda _frozen, _extended, opened: opened() == opened(0),
    lambda _frozen, _extended, opened: hash(opened()),
    lambda _frozen, _extended, opened: next(iter(inspect.signature(opened).parameters.values())).default,
]


@pytest.mark.parametrize("call", CALLS)
def test_they_do_what_the_librarys_do(call):
    """Making, comparing, hashing, showing, copying and refusing to change have the same outcomes, errors included."""
    assert outcome(lambda: call(*OURS)) == outcome(lambda: call(*THEIRS))


def test_they_travel_as_pickles():
    """A frozen one comes back equal."""
    assert pickle.loads(pickle.dumps(Pair(1, (2, 3)))) == Pair(1, (2, 3))


def test_their_signature_is_shown():
    """Before anything is made, a class says what it takes, and which of it by name alone."""
    ours, theirs = (inspect.signature(found[0]) for found in (OURS, THEIRS))
    assert [(one.name, one.kind) for one in ours.parameters.values()] == [
        (one.name, one.kind) for one in theirs.parameters.values()
    ]
