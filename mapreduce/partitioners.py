"""Which part a key goes to, other than by its hash: by ranges of keys, or by an explicit list.

What a user writes, checked when it is made; how columns of keys are partitioned is `dataflow.shuffle.partition`. A
partitioner that is a function of the user's own needs no class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.errors import JobDefinitionError, KeyTypeError

PARTS = 10_000  # as many as a step may have reducers


class RangePartitioner:
    """Keys in order over all parts: every key of a part is below every key of the next, so the output is sorted.

    With `boundaries` (ascending keys) part 0 has the keys below the first, part i those from the i-th up to the next,
    and there is one part more than boundaries. Without, the boundaries are chosen so that parts are about equally
    large: from the sorted output of all map tasks, so nothing is read or mapped twice to find them. A key is never in
    two parts, however often it comes.

    Raises JobDefinitionError for boundaries that are no keys, or not ascending.
    """

    def __init__(self, boundaries: Iterable[Any] | None = None) -> None:
        if boundaries is not None and (isinstance(boundaries, (str, bytes)) or not isinstance(boundaries, Iterable)):
            msg = f"boundaries= of RangePartitioner is a list of keys, such as [10, 20], not {boundaries!r:.100}"
            raise JobDefinitionError(msg)
        self.boundaries = None if boundaries is None else tuple(boundaries)
        if self.boundaries is not None and not 1 <= len(self.boundaries) < PARTS:
            msg = f"boundaries= of RangePartitioner are 1 to {PARTS - 1:,} keys, not {len(self.boundaries):,}"
            raise JobDefinitionError(msg)
        encodings = [(_encoded(key, "the boundary", "RangePartitioner"), key) for key in self.boundaries or ()]
        for (below, key), (above, other) in pairwise(encodings):
            if below >= above:
                msg = (
                    f"boundaries= of RangePartitioner must ascend, each above the one before: {key!r:.100} is followed "
                    f"by {other!r:.100} (keys of several types sort by type: None, bool, int, float, str, bytes, tuple)"
                )
                raise JobDefinitionError(msg)

    @property
    def parts(self) -> int | None:
        """How many parts its boundaries make; None where they are to be found."""
        return None if self.boundaries is None else len(self.boundaries) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangePartitioner) and other.boundaries == self.boundaries

    def __hash__(self) -> int:
        return hash(self.boundaries)

    def __repr__(self) -> str:
        if self.boundaries is None:
            return "RangePartitioner()"
        return f"RangePartitioner(<{len(self.boundaries)} {'boundary' if self.parts == 2 else 'boundaries'}>)"


class ListPartitioner:
    """Each key has its part in a mapping: `ListPartitioner({"de": 0, "at": 0, "fr": 1}, other=2)`.

    A key that is not in it goes to `other`; without one it fails the job. There are as many parts as the highest
    number needs, or as many more as there are reducers.

    Raises JobDefinitionError for what is no such mapping.
    """

    def __init__(self, mapping: Mapping[Any, int], other: int | None = None) -> None:
        if not isinstance(mapping, Mapping) or not mapping:
            msg = (
                "ListPartitioner needs a mapping from keys to parts, such as {'de': 0, 'fr': 1}, "
                f"not {mapping!r:.100}"
            )
            raise JobDefinitionError(msg)
        self.mapping = dict(mapping)
        self.other = other
        named = [(f"the part of {key!r:.100}", part) for key, part in self.mapping.items()]
        if other is not None:
            named.append(("other=", other))
        for key in self.mapping:
            _encoded(key, "the key", "ListPartitioner")
        for name, part in named:
            if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part < PARTS:
                msg = f"ListPartitioner: {name} must be a whole number from 0 to {PARTS - 1:,}, not {part!r}"
                raise JobDefinitionError(msg)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        numbers: list[int] = [*self.mapping.values(), self.other or 0]
        return max(numbers) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ListPartitioner) and (other.mapping, other.other) == (self.mapping, self.other)

    def __hash__(self) -> int:
        return hash((frozenset(self.mapping.items()), self.other))

    def __repr__(self) -> str:
        keys = f"{len(self.mapping)} key{'' if len(self.mapping) == 1 else 's'}"
        return f"ListPartitioner(<{keys}>{'' if self.other is None else f', other={self.other}'})"


def _encoded(key: Any, what: str, where: str) -> bytes:
    try:
        return encode_key(normalise_key(key))
    except KeyTypeError as error:
        msg = f"{where}: {what} {key!r:.100}: {error}"
        raise JobDefinitionError(msg) from None


KeyPartitioner = RangePartitioner | ListPartitioner


def check_partitioner(given: object) -> KeyPartitioner | None:
    """Give a partitioner of ours, or None for what must be a function.

    Raises JobDefinitionError for a class in place of an object.
    """
    if isinstance(given, type) and issubclass(given, (RangePartitioner, ListPartitioner)):
        msg = f"write partitioner={given.__name__}(...), an object, not the class {given.__name__}"
        raise JobDefinitionError(msg)
    return given if isinstance(given, (RangePartitioner, ListPartitioner)) else None
