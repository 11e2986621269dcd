"""What user functions emit, checked and turned into columns: the hot loop of map and reduce tasks.

Owns the rules of what a function may return and what a pair is, with the fix in each message, and the `Values` that a
reducer is handed. A pair is a tuple of two by type, not by unpacking: `for k, v in "of to".split()` works in Python and
is wrong. Sizes are bounded in pairs and in bytes by functions of the data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import GeneratorType
from typing import Any, Generic, NoReturn, TypeVar

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.batches import Batch, make_batch
from mapreduce.dataflow.columns.keys import PLAIN_KEYS, normalise_key
from mapreduce.dataflow.columns.values import SCALARS, Encoded, encode_value
from mapreduce.dataflow.context import Site, kind_of, shorten
from mapreduce.errors import KeyTypeError, RecordError, SecondPassError, UnwritableResult, ValueTypeError
from mapreduce.plan import Limits

V = TypeVar("V")

CHUNK_RECORDS = 8192  # pairs that become columns at once: still in the processor's caches, 5 ns a pair for the calls
FIRST_CHUNK_RECORDS = 256  # until it is known how large pairs are: 100 KB each then make 25 MB
CHUNK_BYTES = 8 << 20  # of values in a chunk: a column's making holds it twice, far below 600 MB
BUFFER_PARTS = 8  # a chunk is at most this part of the sort buffer: tests have tiny ones
OBJECT_BYTES = 32  # a small number


_PAIRS = {
    "wanted": "it must yield pairs, or return a list of pairs, or None for nothing",
    tuple: "one pair is returned as `return [(key, value)]`, or yielded: `yield key, value`",
    str: "it must yield pairs or return a list of them: `yield line, 1`",
    dict: "its pairs are returned as `return list(result.items())`",
}
_KEYS = {
    "wanted": "it must yield keys, or return a list of keys, or None for nothing",
    tuple: "keys are returned as a list: `return list(keys)`, or `return [key]` if the tuple is one key",
    str: "keys are returned as a list: `return [key]` for one, `return text.split()` for its words",
    dict: "keys are returned as a list: `return list(result)`",
}
_VALUES = {
    "wanted": "it must yield values, or return a list of values, or None for nothing",
    tuple: "values are returned as a list: `return [value]`, or yielded",
    str: "values are returned as a list: `return [value]`, or yielded",
    dict: "values are returned as a list: `return [value]`, or yielded",
}
_FIXES: dict[str, dict[Any, str]] = {"keys": _KEYS, "records": _VALUES}


class Values(Generic[V]):
    """The values of one key, as an iterator that can be gone through once.

    `next(values)` before the pass is fine. Raises SecondPassError at a second pass, which would silently see nothing.
    """

    __slots__ = ("_iterator", "_passed")

    def __init__(self, values: Iterable[V]) -> None:
        self._iterator = iter(values)
        self._passed = False

    def __iter__(self) -> Iterator[V]:
        """Begin the pass. Raises SecondPassError if it was begun before."""
        if self._passed:
            raise SecondPassError(
                "the values of a key can be gone through once, and this is the second time: "
                "write `values = list(values)` first if they fit in memory, or compute all in one pass"
            )
        self._passed = True
        return self._iterator

    def __next__(self) -> V:
        return next(self._iterator)


class Emitter:
    """Collects the pairs that one user function emits and hands them on as batches.

    `call` is the function, for messages. `keep` gives the bytes that a value is kept as: those of `encode_value`, or of
    `said_value` where the sink takes these. `records` counts what was emitted.
    """

    def __init__(
        self,
        sink: Callable[[Batch], None],
        call: Call,
        site: Site,
        limits: Limits,
        *,
        keep: Callable[[Any], bytes] = encode_value,
    ) -> None:
        self._sink = sink
        self._keep = keep
        self._encodes = keep is encode_value
        self._call = call
        self._fix = _FIXES.get(call.role, _PAIRS)
        self._site = site
        self._most = max(1, min(CHUNK_RECORDS, limits.flush_records))
        self._room = min(FIRST_CHUNK_RECORDS, self._most)
        self._bytes = max(1, min(CHUNK_BYTES, limits.sort_buffer // BUFFER_PARTS))
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._size = 0
        self.records = 0

    @property
    def _name(self) -> str:
        return self._call.title

    @property
    def _who(self) -> str:
        return in_role(self._call.function, self._call.role)

    def take(self, pairs: Iterator[Any]) -> None:
        """Take all pairs of an iterator. Raises RecordError for what is no pair, and whatever the iterator raises."""
        keys, values, full = self._keys, self._values, self._bytes
        add_key, add_value, settled, size = keys.append, values.append, self.settled, self._size
        while True:
            for pair in islice(pairs, self._room - len(keys)):
                if type(pair) is not tuple or len(pair) != 2:
                    self.refuse_pair(pair)
                key, value = pair
                add_key(key)
                kind = type(value)
                if kind is int or kind is float:
                    add_value(value)
                    continue
                kept = value if kind is str else settled(key, value)
                add_value(kept)
                size += len(kept) if kind is str else weight(kept)
                if size > full:
                    break
            if len(keys) < self._room and size <= full:
                self._size = size
                return
            self.flush()
            size = 0

    def checked(self, pair: Any) -> tuple[Any, Any]:
        """One pair as `take` would take it, its value settled. Raises RecordError, KeyTypeError, ValueTypeError."""
        if type(pair) is not tuple or len(pair) != 2:
            self.refuse_pair(pair)
        return self.checked_key(pair[0]), self.settled(*pair)

    def checked_key(self, key: Any) -> Any:
        """One key, looked at before it becomes part of a column. Raises KeyTypeError."""
        if type(key) in PLAIN_KEYS:
            return key
        try:
            normalise_key(key)
        except KeyTypeError:
            self.refuse_key([key])
        return key

    def take_values(self, values: Iterator[Any]) -> None:
        """Take results that are values alone: their key is None."""
        for value in values:
            kept = self.settled(None, value)
            self._keys.append(None)
            self._values.append(kept)
            self._size += weight(kept)
            if len(self._keys) >= self._room or self._size > self._bytes:
                self.flush()

    def settled(self, key: Any, value: Any) -> Any:
        """The value as it is now: what the user's function may still change (a list that it goes on with) is encoded.

        Raises ValueTypeError, with the function and the key, for a value that cannot be kept.
        """
        kind = type(value)
        if kind in SCALARS or kind is Encoded:
            return value
        if kind is tuple and self._encodes and SCALARS.issuperset(map(type, value)):
            return value  # a column of these is quicker
        try:
            return Encoded(self._keep(value))
        except ValueTypeError as error:
            self._site.blame(self._name, shorten(key))
            msg = f"{self._who} emitted a value that cannot be kept, under the key {shorten(key):.200}: {error}"
            raise ValueTypeError(msg) from error

    def flush(self) -> None:
        """Turn what was collected into columns. Raises KeyTypeError with the function and the key."""
        keys, values = self._keys, self._values
        if not keys:
            return
        try:
            batch = make_batch(keys, values)
        except KeyTypeError:
            self.refuse_key(keys)
        self.records += len(keys)
        self._adapt(len(keys), batch.nbytes())
        keys.clear()
        values.clear()
        self._size = 0
        try:
            self._sink(batch)
        except UnwritableResult:
            self._site.blame(self._name)
            raise
        except Exception:
            self._site.spare_user()  # unless a user's function under it has been blamed
            raise

    def _adapt(self, pairs: int, nbytes: int) -> None:
        """Choose how many pairs to collect next by the size of the last ones; keys count too."""
        fits = max(1, pairs * self._bytes // max(nbytes, 1))
        self._room = min(2 * self._room, fits, self._most)

    def called(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Iterable[Any]]:
        """Call a plain function with each of the arguments, one call after the other, and look at what it returns.

        Not `map`, which takes a StopIteration of the function for the end of the arguments: the rest would be lost.
        """
        for record in arguments:
            try:
                result = function(*record)
            except StopIteration as error:
                msg = (
                    f"{self._who} raised StopIteration: it called next() on an iterator that had no more; "
                    "write `next(iterator, default)`, or catch it"
                )
                raise RecordError(msg).with_traceback(error.__traceback__) from error
            yield result if type(result) is list else self.results(result)

    def results(self, result: Any) -> Iterable[Any]:
        """Look at what a plain function returned: a list or iterator of pairs, or None. Raises RecordError."""
        if type(result) is list or type(result) is GeneratorType:
            emitted: Iterable[Any] = result
            return emitted
        if result is None:
            return ()
        if isinstance(result, (str, bytes, bytearray, tuple, Mapping)) or not hasattr(result, "__iter__"):
            self._refuse_result(result)
        iterable: Iterable[Any] = result
        return iterable

    def refuse_key(self, keys: list[Any]) -> NoReturn:
        """Find the key that is none, and say whose it is."""
        for key in keys:
            try:
                normalise_key(key)
            except KeyTypeError as error:
                self._site.blame(self._name, shorten(key))
                msg = f"{self._who} emitted the key {shorten(key):.200} ({type(key).__name__}): {error}"
                raise KeyTypeError(msg) from error
        raise AssertionError("a column of keys was refused, but none of its keys is")

    def refuse_pair(self, pair: Any) -> NoReturn:
        """Say why something is no pair, and what to write instead."""
        what = f"{self._who} emitted {shorten(pair):.200}, {kind_of(pair)}; "
        if type(pair) is tuple:
            fix = f"it has {len(pair)} elements, a pair has two: `yield key, value`; several values go into a tuple"
        elif isinstance(pair, (str, bytes)):
            fix = "a pair is a tuple of two: `yield key, value`; for results that are keys alone write Job(keys=...)"
        elif isinstance(pair, list):
            fix = "a pair is a tuple of two: `yield key, value`, or `return [(key, value), ...]`"
        elif pair is None:
            fix = "a pair is a tuple of two; for nothing, yield nothing"
        else:
            fix = "a pair is a tuple of two: `yield key, value`"
        raise RecordError(what + fix)

    def _refuse_result(self, result: Any) -> NoReturn:
        what = f"{self._who} returned {shorten(result):.200}, {kind_of(result)}; "
        if isinstance(result, tuple):
            fix = self._fix[tuple]
        elif isinstance(result, (str, bytes, bytearray)):
            fix = self._fix[str]
        elif isinstance(result, Mapping):
            fix = self._fix[dict]
        else:
            fix = self._fix["wanted"]
        raise RecordError(what + fix)


def weight(thing: Any) -> int:
    """Estimate the bytes that a key, or a settled value, takes in a column."""
    kind = type(thing)
    if kind is str or kind is bytes or kind is Encoded:
        return len(thing)
    size = OBJECT_BYTES
    if kind is tuple:
        for part in thing:
            size += len(part) if type(part) is str else weight(part)
    return size
