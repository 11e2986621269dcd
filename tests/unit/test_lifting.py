"""Twins of generators, whose loops that only yield are one yield: they give the same pairs, or there is none."""

import contextlib
import functools
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.tasks.lifting import KNOWN, pairs_of, twin

HERE = sys.version_info[:2] == KNOWN


def words(line):
    for word in line.split():
        yield word, 1


def with_the_document(line, *, ctx):
    document = ctx
    for word in line.split():
        yield word, document


def two_loops(line):
    first = line[:1]
    for word in line.split():
        yield word, first
    if first:
        for character in line:
            yield character, first


def one_of_two(line):
    for word in line.split() if line else ():
        yield word, line


class Indexer:
    def __init__(self):
        self.lines = 0

    def __call__(self, line):
        self.lines += 1
        for word in line.split():
            yield word, line


@pytest.mark.parametrize("mapper", [words, two_loops, one_of_two, Indexer()])
@given(lines=st.lists(st.text("ab \n")))
def test_a_twin_gives_the_same_pairs(mapper, lines):
    """What it gives at once, taken apart, is what the function yields; of functions and of callable objects."""
    lifted = twin(mapper)
    assert (lifted is not None) == HERE
    for line in lines:
        found = list((lifted or mapper)(line))
        if HERE:
            assert all(type(key) in {list, str, tuple} for key, _ in found)
            found = [(key, value) for keys, value in found for key in keys]
        assert found == list(mapper(line))


def test_what_is_bound_to_the_function_is_bound_to_its_twin():
    """A keyword-only parameter, such as the context."""
    lifted = twin(functools.partial(with_the_document, ctx="a.txt"))
    assert (lifted is not None) == HERE
    if lifted is not None:
        assert list(lifted("to be")) == [(["to", "be"], "a.txt")]


def yield_nothing(_thing):
    return None


def yields_elsewhere(line):
    yield line, 1
    for word in line.split():
        yield word, 1


def does_more(line):
    for word in line.split():
        if word:
            yield word, 1


def yields_what_it_makes(line):
    for word in line.split():
        yield word.lower(), 1


def looks_at_the_last(line):
    word = None
    for word in line.split():
        yield word, 1
    yield_nothing(word)


def looks_at_all(line):
    for word in line.split():
        yield word, 1
    yield_nothing(locals())


def perhaps_unbound(line):
    if line:
        first = line[0]
    for word in line.split():
        yield word, first


def bound_by_a_loop(line):
    for first in line:  # noqa: B007 - what is left of it is yielded
        pass
    for word in line.split():
        yield word, first


def bound_where_it_may_fail(line):
    with contextlib.suppress(IndexError):
        first = line[0]
    for word in line.split():
        yield word, first


def itself(line):
    for word in line.split():
        yield word, word


def by_two(line):
    for word, other in line.items():
        yield other, word


def seen_by_another(line):
    def last():
        return word

    for word in line.split():
        yield word, 1
    yield_nothing(last)


def returned(line):
    return [(word, 1) for word in line.split()]


@pytest.mark.parametrize(
    "mapper",
    [
        yields_elsewhere,
        does_more,
        yields_what_it_makes,
        looks_at_the_last,
        looks_at_all,
        perhaps_unbound,
        bound_by_a_loop,
        bound_where_it_may_fail,
        itself,
        by_two,
        seen_by_another,
        returned,
        str.split,
        functools.partial(words, "a line"),
    ],
)
def test_where_somebody_could_tell_there_is_no_twin(mapper):
    """Loops with other steps, variables that are used elsewhere, and values that might not be there."""
    assert twin(mapper) is None


def test_there_is_no_twin_while_a_debugger_looks_on():
    """It would not stop at each pair."""
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        found = twin(words)
    finally:
        sys.settrace(before)
    assert found is None


class Failing:
    """Elements, and then an error."""

    def __init__(self, elements):
        self.elements = elements

    def __iter__(self):
        yield from self.elements
        raise LookupError("no more")


class Leaving(Failing):
    """Elements, and then what a parser does that is given wrong arguments."""

    def __iter__(self):
        yield from self.elements
        sys.exit(2)


def catching(elements):
    try:
        for element in elements:
            yield element, "a"
    except (LookupError, TypeError, SystemExit):
        for name in ("caught",):
            yield name, "a"
    finally:
        for name in ("done",):
            yield name, "a"


def plain(elements):
    for element in elements:
        yield element, "b"


def outcome(pairs):
    found = []
    try:
        found.extend(pairs)
    except (LookupError, TypeError, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [(frame.name, frame.lineno) for frame in frames if frame.filename == __file__]
        return found, repr(error), own[1:]  # but for this function
    return found, None, []


@pytest.mark.parametrize("mapper", [catching, plain])
@given(st.lists(st.integers()), st.sampled_from([list, iter, Failing, Leaving, len]))
def test_what_an_iterable_raises_is_raised_in_the_mapper(mapper, elements, kind):
    """Which may catch it; else it is told with the same lines."""
    lifted = twin(mapper)
    assert (lifted is not None) == HERE
    if lifted is not None:
        call = lifted(kind(elements))
        assert outcome(pairs_of((), None, call)) == outcome(mapper(kind(elements)))
