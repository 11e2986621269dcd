"""What `ctx.outputs` is where named outputs cannot be written, and what a named output is for annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from mapreduce.errors import RecordError


class Output(Protocol):
    """A named output of the job: `ctx.outputs["errors"]`."""

    def write(self, key: Any, value: Any) -> None:
        """Write a record to this output; records stay in the order in which they are written."""


class NoOutputs(Mapping[str, Output]):
    """Refuses: a function that does not make results may run any number of times, or for another task's sake."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __getitem__(self, name: str) -> Output:
        raise RecordError(
            f"ctx.outputs[{name!r}] cannot be written here, in {self._task}: named outputs are for the functions that "
            "make the results, in the last step: its reducer, or its mapper if it has no reducer. Yield here what "
            "those need"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
