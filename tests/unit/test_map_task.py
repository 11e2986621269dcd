"""The mapper's loops: what each kind of mapper gives, what they refuse, and where they say a failure was."""

from __future__ import annotations

import gc
from itertools import chain

import pytest

from mapreduce.dataflow.columns.batches import Batch, key_series, records_of
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.emit import Emitter, weight
from mapreduce.dataflow.tasks.map_task import MapLoop, Records
from mapreduce.dataflow.tasks.task import _calm_gc
from mapreduce.errors import KeyTypeError, RecordError, ValueTypeError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call

LINES = ["to be or", "not to be", "that is"]


class Kept:
    """A sink that keeps batches in memory."""

    def __init__(self):
        self.batches: list[Batch] = []
        self.keys: list[str] = []

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)

    def add_keys(self, keys: list) -> None:
        key_series(keys)
        self.keys += keys

    @property
    def pairs(self):
        return list(chain.from_iterable(map(records_of, self.batches)))


def records(lines: list[str] = LINES, path: str = "a.txt") -> Records:
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode()) + 1)
    return Records(list(lines), lambda: offsets[:-1], lambda i: (path, offsets[i]))


def run(function, role="mapper", lines=LINES, limits=None, blocks=None):
    """Run a mapper over lines. Gives the sink, the site and the loop."""
    call = read_call(function, role)
    sink, site = Kept(), Site()
    bound, finish = call.start({}, None)
    loop = MapLoop(call, bound, sink, site, limits or Limits())
    try:
        for block in blocks or [records(lines)]:
            loop.run(block)
        loop.finish(finish)
    except BaseException as error:
        error.site, error.loop = site, loop
        raise
    return sink, site, loop


def words(line):
    for word in line.split():
        yield word, 1


WANTED = [(word, 1) for line in LINES for word in line.split()]


@pytest.mark.parametrize("flush", [1, 2, 3, 5, 131_072])
@pytest.mark.parametrize(
    "mapper",
    [
        words,
        lambda line: [(word, 1) for word in line.split()],
        lambda line: ((word, 1) for word in line.split()),
        lambda line: dict.fromkeys(line.split(), 1).items(),
        lambda offset, line: [(word, 1) for word in line.split()],
    ],
    ids=["generator", "list", "iterator", "items", "two arguments"],
)
def test_what_mappers_may_return(mapper, flush):
    """Pairs yielded, in a list, an iterator or a view are the same, in order, however many are flushed at a time."""
    sink, _, loop = run(mapper, limits=Limits(flush_records=flush))
    assert sink.pairs == WANTED
    assert loop.emitted == len(WANTED)


def test_first_argument_is_the_offset():
    """A mapper of two arguments gets the byte offset of the line."""
    sink, _, _ = run(lambda offset, line: [(offset, line)])
    assert sink.pairs == list(zip([0, 9, 19], LINES, strict=True))


def test_none_is_nothing():
    """A mapper may return None for a record."""
    sink, _, _ = run(lambda line: [(line, 1)] if "be" in line else None)
    assert [key for key, _ in sink.pairs] == LINES[:2]


@pytest.mark.parametrize(
    ("mapper", "said"),
    [
        (lambda line: ("ab", "cd"), [r"returned \('ab', 'cd'\), a tuple", r"return \[\(key, value\)\]"]),
        (lambda line: line, ["returned 'to be or', a str", "yield line, 1"]),
        (lambda line: line.encode(), ["returned b'to be or', a bytes"]),
        (lambda line: {"a": 1}, [r"returned \{'a': 1\}, a dict", r"list\(result.items\(\)\)"]),
        (lambda line: 5, ["returned 5, an int", "None for nothing"]),
        (lambda line: line.split(), ["emitted 'to', a str", "yield key, value"]),
        (lambda line: [["a", 1]], [r"emitted \['a', 1\], a list", "yield key, value"]),
        (lambda line: [("a", 1, 2)], ["it has 3 elements", "yield key, value"]),
        (lambda line: [None], ["emitted None", "yield nothing"]),
        (lambda line: [{"a": 1}], ["a dict", "yield key, value"]),
    ],
)
def test_mistakes_are_refused_with_the_fix(mapper, said):
    """What is no pair is an error that shows it and says what to write; the first record is named."""
    with pytest.raises(RecordError) as caught:
        run(mapper)
    for pattern in said:
        assert caught.match(pattern)
    site = caught.value.site
    assert (site.path, site.offset, site.record) == ("a.txt", 0, "'to be or'")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (str.strip, [r"the keys str\.strip returned 'to be or', a str", r"text\.split\(\)"]),
        (lambda line: ("a", "b"), [r"a tuple", r"return \[key\]"]),
        (lambda line: {"a": 1}, ["a dict", r"list\(result\)"]),
        (lambda line: 7, ["must yield keys"]),
    ],
)
def test_keys_mistakes_are_refused(keys, said):
    """A `keys=` function that returns a str, a tuple or a dict is refused: its elements are surely not the keys."""
    with pytest.raises(RecordError) as caught:
        run(keys, "keys")
    for pattern in said:
        assert caught.match(pattern)


def test_keys_mistake_names_its_record():
    """Results are looked at many at a time, and still the right record is named."""
    with pytest.raises(RecordError) as caught:
        run(lambda line: line if line.startswith("not") else line.split(), "keys")
    site = caught.value.site
    assert (site.offset, site.record) == (9, "'not to be'")


def generated_keys(line):
    yield from line.split()


@pytest.mark.parametrize("flush", [1, 4, 131_072])
@pytest.mark.parametrize(
    "keys",
    [str.split, generated_keys, lambda line: iter(line.split()), lambda offset, line: line.split()],
    ids=["C function", "generator", "iterator", "two arguments"],
)
def test_keys_alone(keys, flush):
    """Keys come in order, from a list, a generator or an iterator, over several blocks."""
    blocks = [records(), records(["", "x y"]), records([])]
    sink, _, loop = run(keys, "keys", blocks=blocks, limits=Limits(flush_records=flush))
    assert sink.keys == [word for word, _ in WANTED] + ["x", "y"]
    assert loop.emitted == len(sink.keys)


def test_records_alone():
    """`records=` gives values whose key is None."""
    sink, _, _ = run(lambda line: [len(line)], "records")
    assert sink.pairs == [(None, 8), (None, 9), (None, 7)]


class Paragraphs:
    """A mapper with state."""

    def __init__(self):
        self.lines = []

    def __call__(self, line):
        self.lines.append(line)
        if line.startswith("not"):
            yield len(self.lines), "so far"

    def finish(self):
        yield len(self.lines), "all"


def test_mapper_class():
    """An object is made for each attempt, called with each record, and its finish() may emit."""
    for _ in range(2):
        sink, _, _ = run(Paragraphs)
        assert sink.pairs == [(2, "so far"), (3, "all")]


def test_finish_failing_is_told():
    """What finish() raises is the user's, and finish() is named."""

    class Bad(Paragraphs):
        def finish(self):
            raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end") as caught:
        run(Bad)
    assert caught.value.site.users
    assert caught.value.site.function.startswith("finish() of ")
    assert caught.value.site.record is None


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, MemoryError, RecursionError])
@pytest.mark.parametrize("generates", [True, False])
@pytest.mark.parametrize("at", range(3))
def test_failure_names_the_record(error, generates, at):
    """Whatever the user's code raises passes unchanged, with path, offset and record of the line at hand."""

    def generator(line):
        yield line, 1
        if line == LINES[at]:
            raise error

    def function(line):
        if line == LINES[at]:
            raise error
        return [(line, 1)]

    with pytest.raises(error) as caught:
        run(generator if generates else function)
    site = caught.value.site
    assert (site.path, site.offset, site.record) == ("a.txt", [0, 9, 19][at], repr(LINES[at]))
    assert site.users
    assert site.function.startswith("generator" if generates else "function") or "test_failure" in site.function


def test_ctrl_c_passes():
    """KeyboardInterrupt is nobody's failure."""

    def mapper(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(mapper)
    assert caught.value.site.users is None


def test_place_follows_the_mapper():
    """The site's place is the record at hand, at every moment of the loop."""
    call = read_call(words, "mapper")
    site, seen = Site(), []

    def mapper(line):
        seen.append(site.place())
        yield line, 1
        seen.append(site.place())

    loop = MapLoop(read_call(mapper, "mapper"), mapper, Kept(), site, Limits())
    loop.run(records())
    assert seen == [("a.txt", offset) for offset in (0, 0, 9, 9, 19, 19)]
    assert call.is_generator


@pytest.mark.parametrize("key", [["list"], {"a"}, {"a": 1}, object(), ("a", ["b"])], ids=lambda key: type(key).__name__)
def test_unsupported_keys_name_function_key_and_type(key):
    """A key of another type is refused with the function, the key and its type."""

    def mapper(line):
        yield line, 1
        yield key, 1

    with pytest.raises(KeyTypeError, match=f"mapper.*{type(key).__name__}") as caught:
        run(mapper)
    assert caught.value.site.users
    assert caught.value.site.path is None or caught.value.site.path == "a.txt"


def test_unsupported_keys_alone():
    """The same for `keys=`."""
    with pytest.raises(KeyTypeError, match=r"keys.*emitted the key"):
        run(lambda line: [[line]], "keys")


def test_values_that_cannot_be_kept_are_the_users():
    """A value that not even pickle takes is refused with the function's name."""
    with pytest.raises(ValueTypeError, match=r"mapper.*emitted a value"):
        run(lambda line: [(line, (n for n in range(3)))])


def test_large_values_are_flushed_by_their_size():
    """A chunk is bounded in bytes: values of a megabyte don't wait for thousands of others."""
    sink = Kept()
    call = read_call(words, "mapper")
    emitter = Emitter(sink.add, call, Site(), Limits(sort_buffer=8 << 20))
    emitter.take((str(n), "x" * (1 << 20)) for n in range(10))
    emitter.flush()
    assert max(batch.rows() for batch in sink.batches) <= 2
    assert len(sink.pairs) == 10


def test_large_keys_make_chunks_small():
    """Keys count too: after large ones, fewer are collected."""
    sink = Kept()
    emitter = Emitter(sink.add, read_call(words, "mapper"), Site(), Limits(sort_buffer=1 << 20))
    emitter.take((f"{n}" * 10_000, 1) for n in range(1000))
    emitter.flush()
    assert max(batch.rows() for batch in sink.batches[1:]) < 50


@pytest.mark.parametrize(
    ("value", "least"), [("x" * 100, 100), ([1] * 100, 100), ({"a": "b" * 50}, 50), ([["x" * 1000]] * 10, 10_000)]
)
def test_weights(value, least):
    """A value's weight, as the emitter keeps it, is at least about what it holds."""
    emitter = Emitter(Kept().add, read_call(words, "mapper"), Site(), Limits())
    assert least <= weight(emitter.settled("key", value)) < 50 * least


@pytest.mark.parametrize(
    ("function", "role"),
    [
        (lambda line: [(next(iter(line.split("not ")[1:])), 1)], "mapper"),
        (lambda line: [next(iter(line.split("not ")[1:]))], "keys"),
        (lambda line: [next(iter(line.split("not ")[1:]))], "records"),
    ],
    ids=["mapper", "keys", "records"],
)
def test_stop_iteration_is_an_error(function, role):
    """A next() that finds nothing fails the record that it was on: it must not end the records without a word."""
    with pytest.raises(RecordError, match=r"raised StopIteration.*next\(iterator, default\)") as caught:
        run(function, role, blocks=[records(["not a", "to", "not b"])])
    assert (caught.value.site.record, caught.value.site.offset) == ("'to'", 6)


class Shared:
    """A mapper that emits one list again and again, with other contents."""

    def __init__(self):
        self.found = []


class SharedPairs(Shared):
    def __call__(self, line):
        self.found.clear()
        for word in line.split():
            self.found.append(word)
            yield word, self.found
            yield word, (len(self.found), self.found)


class SharedKeys(Shared):
    def __call__(self, line):
        self.found[:] = line.split()
        return self.found


class SharedValues(Shared):
    def __call__(self, line):
        self.found.append(line)
        return [self.found]


def test_values_are_kept_as_they_were_emitted():
    """What a mapper changes after it has emitted it was emitted as it was then."""
    found = run(SharedPairs, lines=["a b", "c"])[0].pairs
    assert found[::2] == [("a", ["a"]), ("b", ["a", "b"]), ("c", ["c"])]
    assert found[1::2] == [("a", (1, ["a"])), ("b", (2, ["a", "b"])), ("c", (1, ["c"]))]
    assert run(SharedKeys, "keys")[0].keys == [word for line in LINES for word in line.split()]
    assert run(SharedValues, "records", lines=["a", "b"])[0].pairs == [(None, ["a"]), (None, ["a", "b"])]


def test_refused_values_name_their_key():
    """A value that cannot be kept is refused with the function, the key and the record."""
    with pytest.raises(ValueTypeError, match=r"emitted a value .* under the key 'b': .*memoryview") as caught:
        run(lambda line: [(line, 1 if line == "a" else memoryview(b"x"))], lines=["a", "b"])
    assert caught.value.site.key == "'b'"
    assert caught.value.site.function.startswith("test_refused_values_name_their_key.<lambda>")


def test_collector_is_as_before():
    """The loop's settings of the garbage collector go with it, also after an error."""
    before = gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()

    def fail():
        with _calm_gc():
            assert gc.get_threshold() != before[0]
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()) == before
