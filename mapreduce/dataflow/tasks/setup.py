"""What an attempt needs beside its inputs, and how its functions are bound to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.calls import Call
from mapreduce.dataflow.context import Context, Place, Site
from mapreduce.dataflow.readers.reader import Reader, reader_for
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.format_text import format_used
from mapreduce.formats import Records
from mapreduce.plan import AttemptId, Split, TaskOptions
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from mapreduce.dataflow.bad.at_work import AtWork
    from mapreduce.dataflow.readers.unreadable import PutAside
    from mapreduce.job import StepPlan
    from mapreduce.travel.loader import LoadedJob


def _nothing(_records: int, _bytes: int) -> None:
    """Report to nobody."""


@dataclass(slots=True)
class TaskSetup:
    """What an attempt needs beside its inputs.

    `scratch` is the job's scratch folder on this machine, `previous` the counters of each earlier step. `on_progress`
    is called now and then with the records and bytes read so far. `site` is where the attempt is in the user's code.
    `broadcast` is the split that every task process loads whole, in a step that joins to it; `broadcast_parts` gives
    what is read of it where it is a kept result.

    With `careful` the attempt hands records over one by one from the start (see `bad.care`). `mark` is called with each
    record or group, or with all of a batch or frame, before the user's function sees it, and with None when that is
    through. Those whose ordinals are in `skip` are put aside unseen, for the reason given. `alone` names batches by
    the ordinal of their first record and their number: each is given in small parts.
    """

    job: LoadedJob
    attempt: AttemptId
    scratch: Path
    previous: tuple[dict[str, int], ...] = ()
    on_progress: Callable[[int, int], None] = _nothing
    site: Site = field(default_factory=Site)
    broadcast: Split | None = None
    broadcast_parts: Callable[[], Sequence[Slice]] = tuple
    careful: bool = False
    mark: Callable[[AtWork | None], None] | None = None
    skip: Mapping[int, str] = field(default_factory=dict)
    alone: frozenset[tuple[int, int]] = frozenset()

    @property
    def options(self) -> TaskOptions:
        """The job's options."""
        return self.job.options

    @property
    def plan(self) -> StepPlan:
        """The attempt's step, as it was checked."""
        return self.job.job.resolved[self.attempt.task.step]

    def place(self) -> Place | None:
        """The input path and offset that a mapper is at, if it is; may be asked from `on_progress`."""
        return self.site.place() if self.site.place is not None else None

    def context(self) -> Context:
        """Make the context that the user's functions get."""
        return Context(
            self.attempt,
            seed=self.options.seed,
            params=self.job.params,
            previous=self.previous,
            site=self.site,
            files=self.job.files,
        )

    def reader(self, split: Split, aside: PutAside | None = None) -> Reader:
        """The reader of a split, in the format of its input; `aside` takes what it would refuse."""
        if split.typed:
            return reader_for(Records(), split, self.options, aside)
        own = self.plan.inputs[split.input]
        return reader_for(format_used(self.options.formats, own, split.input), split, self.options, aside)

    def bound(self, call: Call, context: Context) -> tuple[Callable[..., Any], Callable[[], Any] | None]:
        """Bind a user's function for this attempt; a mapper class's __init__ runs here."""
        try:
            return call.start(self.job.params, context)
        except Exception:
            self.site.blame(call.title)
            raise
