"""What a generator's code proves of its pairs: never more than is true, and for common mappers what is."""

import pytest

from mapreduce.dataflow.tasks.yields import Constant, Fixed, proven
from mapreduce.signatures import read_call


def ones(line):
    for word in line.split():
        yield word, 1


def with_a_total(line):
    yield "lines", 1
    for word in line.split():
        if word:
            yield word, 1


def with_the_document(line, *, ctx):
    document = ctx.path
    for word in line.split():
        yield word, document


def with_the_line(line):
    try:
        yield line[:1], line
    finally:
        yield line[1:2], line


class Indexer:
    def __call__(self, line):
        for word in line.split():
            yield word, line


@pytest.mark.parametrize(
    ("mapper", "wanted"),
    [
        (ones, Constant(1)),
        (with_a_total, Constant(1)),
        (with_the_document, Fixed()),
        (with_the_line, Fixed()),
        (Indexer, Fixed()),
    ],
)
def test_common_mappers_are_proven(mapper, wanted):
    """A constant, or a variable that stays what it is while the call yields; of functions and of classes."""
    assert proven(read_call(mapper, "mapper")) == wanted


def other_values(line):
    yield line, 1
    yield line, 2


def other_types(line):
    yield line, 1
    yield line, True


def chosen(line):
    yield line, (1 if line else 2)


def chosen_pair(line):
    yield (line, 1) if line else (line, 2, 3)


def of_a_loop(line):
    for word in line.split():
        length = len(word)
        yield word, length


def set_between(line):
    first = line[:1]
    yield line, first
    first = line[1:]
    yield line, first


def set_by_a_loop(line):
    for first in line:
        yield line, first


def set_by_walrus(line):
    size = 0
    while (size := size + 1) < 3:
        yield line, size


def set_by_unpacking(line):
    rest = line
    for first, rest in [(1, 2), (3, 4)]:
        yield first + 1, rest


def taken_apart(line):
    value = line
    yield line, value
    with value.opened() as value:
        yield line, value


def two_variables(other, line):
    yield line, line
    yield line, other


def closed_over():
    value = 1

    def mapper(line):
        nonlocal value
        yield line, value
        value += 1

    return mapper


def from_another(line):
    yield from [(line, 1)]


def a_name(line):
    pair = line, 1
    yield pair


def three(line):
    yield line, 1, 1


def a_list(line):
    return [(line, 1)]


def received(line):
    value = yield line, 1
    yield value


def an_expression(line):
    yield line, line.upper()


def signs_of_zero(line):
    yield line, 0.0
    yield line, -0.0


class Plain:
    def __call__(self, line):
        yield line, 1


class Disguised(Plain):
    def __new__(cls):
        return object.__new__(Other)


class Other(Disguised):
    def __call__(self, line):
        yield line, len(line)


class Chosen(type):
    def __call__(cls):
        return Other()


class ChosenByItsClass(Plain, metaclass=Chosen):
    pass


UNPROVEN = [
    *(signs_of_zero, Disguised, ChosenByItsClass),
    *(other_values, other_types, chosen, chosen_pair, of_a_loop, set_between, set_by_a_loop, set_by_walrus),
    *(set_by_unpacking, taken_apart, two_variables, closed_over(), from_another, a_name, three, a_list, received),
    an_expression,
]


def test_a_class_is_proven_by_its_calls():
    """Where what is called is an object of that class."""
    assert proven(read_call(Plain, "mapper")) == Constant(1)


@pytest.mark.parametrize("mapper", UNPROVEN, ids=lambda mapper: mapper.__name__)
def test_nothing_else_is_proven(mapper):
    """Values that may differ, whatever is no pair of two made in place, and functions that are no generators."""
    assert proven(read_call(mapper, "mapper")) is None
