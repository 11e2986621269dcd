"""Which part a key goes to, other than by its hash: by ranges of keys, or by an explicit list.

What a user writes; how columns of keys are partitioned is `dataflow.shuffle.partition`. A partitioner that is a
function of the user's own needs no class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mapreduce.errors import JobDefinitionError

PARTS = 10_000  # as many as a step may have reducers


class RangePartitioner:
    """Keys in order over all parts: every key of a part is below every key of the next, so the output is sorted.

    With `boundaries` (ascending keys) part 0 has the keys below the first, part i those from the i-th up to the next,
    and there is one part more than boundaries. Without, the boundaries are chosen so that parts are about equally
    large: from the sorted output of all map tasks, so nothing is read or mapped twice to find them.
    """

    def __init__(self, boundaries: Iterable[Any] | None = None) -> None:
        self.boundaries = None if boundaries is None else tuple(boundaries)
        if self.boundaries is not None and not 1 <= len(self.boundaries) < PARTS:
            msg = f"boundaries= of RangePartitioner are 1 to {PARTS - 1:,} keys, not {len(self.boundaries):,}"
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
        return f"RangePartitioner(<{len(self.boundaries)} boundaries>)"


class ListPartitioner:
    """Each key has its part in a mapping: `ListPartitioner({"de": 0, "at": 0, "fr": 1}, other=2)`.

    A key that is not in it goes to `other`; without one it fails the job. There are as many parts as the highest
    number needs.
    """

    def __init__(self, parts: Mapping[Any, int], other: int | None = None) -> None:
        self.mapping = dict(parts)
        self.other = other
        if not self.mapping:
            msg = "ListPartitioner needs a mapping from keys to parts, such as {'de': 0, 'fr': 1}"
            raise JobDefinitionError(msg)
        for key, part in (*self.mapping.items(), *([("other=", other)] if other is not None else [])):
            if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part < PARTS:
                msg = f"ListPartitioner: the part of {key!r} must be a whole number from 0 on, not {part!r}"
                raise JobDefinitionError(msg)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        numbers: list[int] = [*self.mapping.values(), self.other or 0]
        return max(numbers) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ListPartitioner) and (other.mapping, other.other) == (self.mapping, self.other)

    def __hash__(self) -> int:
        return hash((tuple(self.mapping), self.other))

    def __repr__(self) -> str:
        return f"ListPartitioner(<{len(self.mapping)} keys>{'' if self.other is None else f', other={self.other}'})"


KeyPartitioner = RangePartitioner | ListPartitioner


def check_partitioner(given: object) -> KeyPartitioner | None:
    """Give a partitioner of ours, or None for what must be a function.

    Raises JobDefinitionError for a class in place of an object.
    """
    if isinstance(given, type) and issubclass(given, (RangePartitioner, ListPartitioner)):
        msg = f"write partitioner={given.__name__}(...), an object, not the class {given.__name__}"
        raise JobDefinitionError(msg)
    return given if isinstance(given, (RangePartitioner, ListPartitioner)) else None
