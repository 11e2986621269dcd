"""A user's combiner function over columns: many values of a key become few before they are sorted and sent.

A combiner may be called for any part of a key's values, any number of times, or not at all. It may emit its own key
only, or with frames the keys of its frame only: another would be in the wrong partition, or out of order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.batches import Batch, Lane, concat, encode_keys, keys_list, make_batch, regroup, ungroup
from mapreduce.dataflow.columns.frames import FRAME_BYTES, batches_of, frame_of
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.segments import by_hash, chunks
from mapreduce.dataflow.columns.tally import Tallied
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.shuffle.sizes import cut, slice_of
from mapreduce.dataflow.tasks.emit import CHUNK_RECORDS, Emitter, Values
from mapreduce.errors import KeyTypeError, RecordError
from mapreduce.plan import Limits

ALWAYS_COMBINED = 8192  # rows: costs a few milliseconds, and shows a combiner's mistakes on small inputs too
WORTH_COMBINING = 2  # values a key: with fewer, calling the combiner costs more than sorting what it saves


def _nowhere(_batch: Batch) -> None:
    """Take nothing: a combiner gives its batches back."""


class Combiner:
    """Combines batches with a user's function. Raises RecordError where it emits no pairs, or another key."""

    def __init__(self, call: Call, function: Callable[..., Any], site: Site, limits: Limits) -> None:
        self._call = call
        self._function = function
        self._site = site
        self._emitter = Emitter(_nowhere, call, site, limits)  # for its checks: pairs do not go through it

    def __call__(self, batch: Batch) -> Batch:
        """Give the rows combined, ungrouped; or `batch` itself where its keys hardly repeat."""
        part = by_hash(batch)
        if part.values.len() > ALWAYS_COMBINED and WORTH_COMBINING * part.keys.len() > part.values.len():
            return batch
        return self._combined(chunks(part))

    def combine_tallied(self, pairs: Tallied) -> Batch:
        """Give tallied pairs combined."""
        groups = [repeat(pairs.value, times) for times in pairs.times]
        rows = range(0, len(groups), CHUNK_RECORDS)
        return self._combined((pairs.keys[at : at + CHUNK_RECORDS], groups[at : at + CHUNK_RECORDS]) for at in rows)

    def _combined(self, groups: Iterable[tuple[list[Any], Sequence[Iterable[Any]]]]) -> Batch:
        made: list[Batch] = []
        out_keys: list[Any] = []
        out_values: list[Any] = []
        for keys, values in groups:
            self._combine(keys, values, out_keys, out_values)
            if len(out_keys) >= CHUNK_RECORDS:
                made.append(make_batch(out_keys, out_values))
                out_keys, out_values = [], []
        if out_keys or not made:
            made.append(make_batch(out_keys, out_values))
        return concat(made)

    def _combine(
        self, keys: list[Any], groups: Sequence[Iterable[Any]], out_keys: list[Any], out_values: list[Any]
    ) -> None:
        function, emitter = self._function, self._emitter
        results = None if self._call.is_generator else emitter.results
        for key, values in zip(keys, groups, strict=True):
            try:
                pairs = function(key, Values(values))
                for pair in pairs if results is None else results(pairs):
                    if type(pair) is not tuple or len(pair) != 2:
                        emitter.refuse_pair(pair)
                    emitted, value = pair
                    if emitted is not key:
                        self._check_key(key, emitted)
                    out_values.append(emitter.settled(key, value))
                    out_keys.append(key)
            except Exception:
                self._site.blame(self._call.title, shorten(key))
                raise

    def _check_key(self, key: Any, emitted: Any) -> None:
        try:
            same = encode_key(normalise_key(emitted)) == encode_key(key)
        except KeyTypeError:
            same = False
        if not same:
            who = in_role(self._call.function, self._call.role)
            msg = (
                f"{who} was called for the key {shorten(key):.200} and emitted the key {shorten(emitted):.200}: "
                "a combiner may emit its own key only; change keys in the mapper or reducer"
            )
            raise RecordError(msg)


class FrameCombiner:
    """Combines batches with a user's function over frames. Raises RecordError where it gives none, or another key."""

    def __init__(self, call: Call, function: Callable[..., Any], site: Site) -> None:
        self._call = call
        self._who = in_role(call.function, call.role)
        self._function = function
        self._site = site

    def __call__(self, batch: Batch) -> Batch:
        """Give the rows combined, ungrouped; or `batch` itself where its keys hardly repeat."""
        grouped = batch if batch.grouped else regroup(batch)
        if batch.records() > ALWAYS_COMBINED and WORTH_COMBINING * grouped.rows() > batch.records():
            return batch
        made: list[Batch] = []
        for piece, _ in cut(ungroup(grouped), FRAME_BYTES):
            made += self._combine(piece)
        return concat(made) if made else slice_of(ungroup(batch), 0, 0)

    def _combine(self, piece: Batch) -> list[Batch]:
        try:
            # Sorted, since Polars' group_by has no order of its own, and by the order of rows the next frames are cut.
            combined = list(batches_of(self._function(frame_of(piece)), self._who, by_key=True))
            for batch in combined:
                self._check_keys(batch, piece)
        except (Exception, SystemExit):
            first = keys_list(piece.frame["key"].head(1), piece.key_lane)[0]
            self._site.blame(self._call.title, f"{shorten(first)} and others (a frame of {piece.rows():,} rows)")
            raise
        return combined

    def _check_keys(self, batch: Batch, piece: Batch) -> None:
        given, own, lane = batch.frame["key"], piece.frame["key"], batch.key_lane
        if lane is not piece.key_lane:
            given, own, lane = encode_keys(given, lane), encode_keys(own, piece.key_lane), Lane.ENCODED
        # For Polars' joins a NaN is equal to itself.
        foreign = given.to_frame("key").join(own.to_frame("key"), on="key", how="anti", maintain_order="left")
        if foreign.height:
            key = keys_list(foreign["key"].head(1), lane)[0]
            msg = (
                f"{self._who} was called with a frame of {piece.rows():,} rows, none of which has the key "
                f"{shorten(key):.200}, and gave a row with it: a combiner may give keys of its frame only; change keys "
                "in the mapper or reducer"
            )
            raise RecordError(msg)
