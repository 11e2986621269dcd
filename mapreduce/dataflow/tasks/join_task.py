"""Joins over columns: the pairs of each key's left and right values, as positions first and then as whole columns.

Values that are paired are encoded once, and the encoding of a pair is put together from theirs: no Python object is
made for a row of the result. For an output that is text it is their JSON, where both are scalars. What is larger than a
piece is joined piece by piece; of a key that is a stream, the right values are held, up to a bound in memory and beyond
it in a file, and the left ones go by once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, encode_values
from mapreduce.dataflow.columns.json_text import column_json
from mapreduce.dataflow.columns.said import NULL, SAYABLE, said_pairs
from mapreduce.dataflow.columns.segments import Positions
from mapreduce.dataflow.columns.values import decode_value, encode_value, pack_flat
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, open_slice, read_blocks
from mapreduce.dataflow.tasks.cogroup import Groups, LargeGroup, Side, Stream
from mapreduce.dataflow.tasks.sinks import NOTHING
from mapreduce.joins import Join
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

PIECE_ROWS = 65_536  # of a result, made at once: Polars' calls cost nothing then
PIECE_BYTES = 8 << 20  # or less, where rows are large; what is made on the way takes a few times that
BUFFER_SHARE = 4  # of `limits.merge` may be held of a key's right values: 32 MiB, beside two merges of half of it each

PAIR = b"\x92"  # msgpack: an array of two, which is how a tuple of two scalars is encoded
BOXED_PAIR = b"\xc1t\x92"  # a tuple of two encodings, where either is no scalar
NESTED = frozenset(b"tLdsfP")  # tags behind C1 of values that may be deep, or pickled: pairs of these are encoded anew

_SCALAR, _BOXED, _ANEW = 0, 1, 2
_SAID = 3  # beside its own kind alone


@dataclass(frozen=True, slots=True)
class Coded:
    """Values by their encodings, None behind the last, and for each how it goes into the encoding of a pair.

    Those that are said, by their JSON: they go into pairs with others of that kind.
    """

    column: pl.Series
    kinds: np.ndarray[tuple[int], np.dtype[np.uint8]]
    widest: int

    @classmethod
    def said(cls, values: pl.Series, lane: Lane) -> Coded:
        """Make JSON of a flat column of values that `can_be_said`."""
        texts = column_json(values, lane) if values.len() else pl.Series([], dtype=pl.String)
        column = pl.concat([texts.alias("value"), pl.Series("value", [NULL], dtype=pl.String)])
        widest = column.str.len_bytes().max()
        assert isinstance(widest, int)
        return cls(column, np.full(column.len(), _SAID, dtype=np.uint8), widest)

    @classmethod
    def of(cls, values: pl.Series, lane: Lane) -> Coded:
        """Encode a flat column of values."""
        encoded = encode_values(values, lane).alias("value")
        column = pl.concat([encoded, pl.Series("value", [NOTHING], dtype=pl.Binary)])
        kinds = np.zeros(column.len(), dtype=np.uint8)
        if lane is Lane.ENCODED:
            first = column.bin.slice(0, 1).bin.reinterpret(dtype=pl.UInt8).to_numpy()
            kinds = _KIND_OF_FIRST[first]
            marked = np.flatnonzero(first == 0xC1)
            tags = column.gather(marked).bin.slice(1, 1).bin.reinterpret(dtype=pl.UInt8).to_numpy()
            kinds[marked] = np.where(np.isin(tags, list(NESTED)), _ANEW, _BOXED)
        widest = column.bin.size().max()
        assert isinstance(widest, int)
        return cls(column, kinds, widest)


def can_be_said(values: pl.Series, lane: Lane) -> bool:
    """Whether `Coded.said` takes a column: of no values in any lane."""
    return lane in SAYABLE or values.len() == 0


def _first_bytes() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """What an encoding's first byte says: arrays, maps and our own C1 are no scalars."""
    kinds = np.full(256, _SCALAR, dtype=np.uint8)
    kinds[0x80:0xA0] = kinds[0xDC:0xE0] = kinds[0xC1] = _BOXED
    return kinds


_KIND_OF_FIRST = _first_bytes()


def pair_column(left: Coded, right: Coded, left_rows: Positions, right_rows: Positions) -> pl.Series:
    """The encodings of the tuples (left value, right value) at these rows: the bytes of `values.encode_value`."""
    kinds = np.maximum(left.kinds[left_rows], right.kinds[right_rows])
    made: list[pl.Series] = []
    rows: list[Positions] = []
    for kind, make in _PAIRS.items():
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            made.append(make(left.column.gather(left_rows[chosen]), right.column.gather(right_rows[chosen])))
            rows.append(chosen)
    if len(made) < 2:
        return made[0] if made else pl.Series("value", [], dtype=pl.Binary)
    back = np.empty(len(kinds), dtype=np.int64)
    back[np.concatenate(rows)] = np.arange(len(kinds))
    return pl.concat(made).gather(back)


def _scalar_pairs(left: pl.Series, right: pl.Series) -> pl.Series:
    frame = pl.DataFrame([left.alias("left"), right.alias("right")])
    return frame.select(value=pl.lit(PAIR) + pl.col("left") + pl.col("right"))["value"]


def _boxed_pairs(left: pl.Series, right: pl.Series) -> pl.Series:
    both = zip(left.to_list(), right.to_list(), strict=True)
    return pl.Series("value", [BOXED_PAIR + pack_flat(a) + pack_flat(b) for a, b in both], dtype=pl.Binary)


def _pairs_anew(left: pl.Series, right: pl.Series) -> pl.Series:
    both = zip(left.to_list(), right.to_list(), strict=True)
    return pl.Series("value", [encode_value((decode_value(a), decode_value(b))) for a, b in both], dtype=pl.Binary)


_PAIRS = {_SCALAR: _scalar_pairs, _BOXED: _boxed_pairs, _ANEW: _pairs_anew, _SAID: said_pairs}


@dataclass(frozen=True, slots=True)
class Matched:
    """Where the values of some keys are on both sides, by row: `starts` and `lengths` of each side; and the keys."""

    keys: pl.Series
    key_lane: Lane
    left_starts: Positions
    left_lengths: Positions
    right_starts: Positions
    right_lengths: Positions


def paired(how: str, matched: Matched, left: Coded, right: Coded) -> Iterator[Batch]:
    """The pairs of an inner, left, right or outer join: by row of `matched`, then left-major."""
    lefts, rights = matched.left_lengths, matched.right_lengths
    if how in {"left", "outer"}:
        rights = np.where(rights == 0, 1, rights)
    if how in {"right", "outer"}:
        lefts = np.where(lefts == 0, 1, lefts)
    left_none, right_none = left.column.len() - 1, right.column.len() - 1
    left_starts = np.where(matched.left_lengths == 0, left_none, matched.left_starts)
    right_starts = np.where(matched.right_lengths == 0, right_none, matched.right_starts)
    ends = np.cumsum(lefts * rights)
    total = int(ends[-1]) if len(ends) else 0
    step = max(1, min(PIECE_ROWS, PIECE_BYTES // (left.widest + right.widest)))
    for start in range(0, total, step):
        places = np.arange(start, min(start + step, total))
        rows = np.searchsorted(ends, places, side="right")
        offsets = places - (ends[rows] - lefts[rows] * rights[rows])
        left_rows = left_starts[rows] + offsets // rights[rows]
        right_rows = right_starts[rows] + offsets % rights[rows]
        values = pair_column(left, right, left_rows, right_rows).alias("value")
        keys = matched.keys.gather(rows).alias("key")
        yield Batch(pl.DataFrame([keys, values]), matched.key_lane, Lane.ENCODED)


def kept(how: str, keys: pl.Series, key_lane: Lane, left: Side, right_lengths: Positions) -> Batch:
    """The records of a semi or anti join: the left values of the keys that the right side has, or has not."""
    there = (right_lengths > 0) == (how == "semi")
    rows = np.repeat(np.arange(len(keys)), left.lengths)
    chosen = there[rows]
    frame = pl.DataFrame([keys.gather(rows[chosen]).alias("key"), left.values.filter(pl.Series(chosen)).alias("value")])
    return Batch(frame, key_lane, left.lane)


def warn_of_strangers(context: Context, names: Sequence[str], lanes: Sequence[set[Lane]]) -> None:
    """Warn where no key of one input can be one of the other, by their types: `lanes` are those of each one's keys."""
    left, right = lanes
    if left and right and not left & right and Lane.ENCODED not in left | right:
        shown = [
            f"{name}: {', '.join(sorted(lane.value for lane in side))}" for name, side in zip(names, lanes, strict=True)
        ]
        context.warn(
            f"the keys of the joined inputs are of different types ({'; '.join(shown)}), so none has a match: let both "
            "mappers give one type, such as int(key)"
        )


class JoinLoop:
    """Joins groups of two sides; results go to `sink`. `folder` is for the right values of a key, where they are many.

    With `says` the sink takes what `said_value` makes. `records` counts the values read, `emitted` the records made.
    """

    def __init__(
        self, join: Join, sink: Callable[[Batch], None], limits: Limits, folder: Path, *, says: bool = False
    ) -> None:
        self._how = join.how
        self._says = says
        self._sink = sink
        self._limits = limits
        self._folder = folder
        self.records = 0
        self.emitted = 0

    def run(self, groups: Groups | LargeGroup) -> None:
        """Join some complete groups."""
        if isinstance(groups, LargeGroup):
            self._run_large(groups)
            return
        left, right = groups.sides
        self.records += int(left.lengths.sum() + right.lengths.sum())
        if self._how in {"semi", "anti"}:
            self._emit(kept(self._how, groups.keys, groups.key_lane, left, right.lengths))
            return
        matched = Matched(groups.keys, groups.key_lane, left.starts, left.lengths, right.starts, right.lengths)
        said = self._says and can_be_said(left.values, left.lane) and can_be_said(right.values, right.lane)
        code = Coded.said if said else Coded.of
        coded = (code(left.values, left.lane), code(right.values, right.lane))
        for batch in paired(self._how, matched, *coded):
            self._emit(batch)

    def _emit(self, batch: Batch) -> None:
        if batch.rows():
            self.emitted += batch.rows()
            self._sink(batch)

    def _run_large(self, group: LargeGroup) -> None:
        left, right = group.sides
        if self._how in {"semi", "anti"}:
            if left is not None and (right is not None) == (self._how == "semi"):
                for column in self._columns(left):
                    keys = group.column()
                    frame = pl.DataFrame([keys[0].new_from_index(0, column.len()), column.alias("value")])
                    self._emit(Batch(frame, keys[1], left.lane))
            return
        if left is None or right is None:
            wanted = {"left", "outer"} if right is None else {"right", "outer"}
            if self._how in wanted:
                for coded in self._coded(left or right):
                    self._emit_pairs(group, *((coded, _none()) if right is None else (_none(), coded)))
            return
        held = _Held(self._coded(right), self._limits.merge // BUFFER_SHARE, self._folder / "right-values")
        try:
            for coded in self._coded(left):
                for one in held.fitting(coded):
                    for other in held.read():
                        self._emit_pairs(group, one, other)
        finally:
            held.close()

    def _columns(self, stream: Stream) -> Iterator[pl.Series]:
        for column in stream.columns:
            self.records += column.len()
            yield column

    def _coded(self, stream: Stream | None) -> Iterator[Coded]:
        assert stream is not None, "a key that is on neither side"
        for column in self._columns(stream):
            yield Coded.of(column, stream.lane)

    def _emit_pairs(self, group: LargeGroup, left: Coded, right: Coded) -> None:
        """Pair each of the left values with each of the right ones."""
        keys, lane = group.column()
        lengths = [np.array([max(coded.column.len() - 1, 0)]) for coded in (left, right)]
        start = np.zeros(1, dtype=np.int64)
        how = "outer"  # who is alone here has been asked for
        for batch in paired(how, Matched(keys, lane, start, lengths[0], start, lengths[1]), left, right):
            self._emit(batch)


@functools.cache
def _none() -> Coded:
    """No values: made at its first use, since Polars must not be used before a task process is forked."""
    return Coded.of(pl.Series("value", [], dtype=pl.Binary), Lane.ENCODED)


class _Held:
    """The right values of one key: in memory, or where they take more than `most` bytes in a file."""

    def __init__(self, values: Iterator[Coded], most: int, path: Path) -> None:
        self._path = path
        self._kept: list[pl.Series] = []
        self._spilled = False
        size = 0
        for coded in values:
            self._kept.append(coded.column.head(coded.column.len() - 1))
            size += int(self._kept[-1].bin.size().sum())
            if size > most:
                self._spill(values)
                return

    def _spill(self, values: Iterator[Coded]) -> None:
        writer = BlockFileWriter(self._path)
        try:
            while self._kept:
                writer.write(0, _with_no_keys(self._kept.pop(0)))
            for coded in values:
                writer.write(0, _with_no_keys(coded.column.head(coded.column.len() - 1)))
            writer.close()
        finally:
            writer.abort()  # does nothing after a close
        self._spilled = True

    def fitting(self, left: Coded) -> Iterator[Coded]:
        """The left values as they can be paired with `read()`, in the order wanted: one by one where it is a file."""
        if not self._spilled:
            yield left
            return
        for row in range(left.column.len() - 1):
            yield Coded.of(left.column.slice(row, 1), Lane.ENCODED)

    def read(self) -> Iterator[Coded]:
        """All values, once more: in one column, or block by block."""
        if not self._spilled:
            if len(self._kept) > 1:
                self._kept = [pl.concat(self._kept)]
            yield Coded.of(self._kept[0], Lane.ENCODED)
            return
        for batch in read_blocks(open_slice(self._path, 0)):
            yield Coded.of(batch.frame["value"], batch.value_lane)

    def close(self) -> None:
        """Remove the file."""
        if self._spilled:
            self._path.unlink()


def _with_no_keys(values: pl.Series) -> Batch:
    keys = pl.Series("key", [False], dtype=pl.Boolean).new_from_index(0, values.len())
    return Batch(pl.DataFrame([keys, values.alias("value")]), Lane.BOOL, Lane.ENCODED)
