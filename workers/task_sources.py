"""From the sources of an attempt to slices of local files: what lies here is read here, the rest is fetched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mapreduce.dataflow.shuffle.block_file import Slice, open_slice
from mapreduce.dataflow.shuffle.ranges import Share, share_of
from mapreduce.errors import InputLostError, MapReduceError
from mapreduce.file_names import part_file_name, run_file_name
from mapreduce.plan import EVERY_PART
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Results, Source
from workers.shuffle_client import fetch
from workers.shuffle_fetch import Wanted
from workers.shuffle_messages import PART, SliceRequest


class Sources:
    """The committed results of one job, as far as this process was told. `worker` is the own worker's id."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._known: dict[tuple[int, bool], dict[int, Source]] = {}

    def add(self, packed: bytes) -> int:
        """Learn a source, which replaces an earlier one of the same task, from a packed Results. Gives its step."""
        results = plain.unpack(Results, packed)
        known = self._known.setdefault((results.step, results.of_maps), {})
        for source in results.sources:
            known[source.attempt.task.index] = source
        return results.step

    def parts(self, step: int) -> list[Source]:
        """The parts of a step, in order."""
        return self._sorted(step, of_maps=False)

    def with_bad(self) -> list[Source]:
        """All results of this job whose attempts have put records aside."""
        known = [source for (step, _), found in self._known.items() if step >= 0 for source in found.values()]
        return [source for source in known if source.done.bad]

    def part_slices(self, step: int, index: int, folder: Path, fetched: Path) -> list[Slice]:
        """One part of a step, or all with EVERY_PART, as readable slices. Raises InputLostError, DiskFullError.

        Kept results are the parts of steps below 0.
        """
        if index == EVERY_PART:
            return self._slices([(source, PART) for source in self.parts(step)], Share(0), folder, fetched)
        source = self._known.get((step, False), {}).get(index)
        if source is None:
            msg = f"part {index} of step {step + 1} was not told to this worker: a defect of the coordinator"
            raise MapReduceError(msg)
        return self._slices([(source, PART)], Share(0), folder, fetched)

    def run_slices(self, step: int, partition: int, partitions: int, folder: Path, fetched: Path) -> list[Slice]:
        """One of the `partitions` of all runs of a step, in the order of (map task, spill).

        `folder` is the job's scratch folder here; slices of other workers are fetched into the file `fetched`. Raises
        InputLostError, DiskFullError.
        """
        sources = self._sorted(step, of_maps=True)
        wanted = [(source, spill) for source in sources for spill in range(source.done.runs)]
        share = share_of(partition, partitions, [source.done.bounds for source in sources])
        return self._slices(wanted, share, folder, fetched)

    def _sorted(self, step: int, *, of_maps: bool) -> list[Source]:
        known = self._known.get((step, of_maps), {})
        return [known[index] for index in sorted(known)]

    def _slices(self, files: list[tuple[Source, int]], share: Share, folder: Path, fetched: Path) -> list[Slice]:
        """Slices of the given spills (or of a part), in the same order."""
        slices: dict[int, Slice] = {}
        remote: list[Wanted] = []
        folders: dict[tuple[str, str, str, str], str | None] = {}
        for place, (source, spill) in enumerate(files):
            attempt = source.attempt
            holder = source.worker, source.address, source.folder, attempt.task.job
            if holder not in folders:
                folders[holder] = self._local_folder(source, folder)
            local = folders[holder]
            if local is not None:
                name = part_file_name(attempt) if spill == PART else run_file_name(attempt, spill)
                index = -1 if spill == PART else attempt.task.index
                path = f"{local}/{name}"
                slices[place] = open_slice(path, share.partition, attempt, index, low=share.low, high=share.high)
            elif source.address:
                request = SliceRequest(place, attempt, spill, share.partition, share.low, share.high)
                remote.append(Wanted(place, source.address, request))
            else:
                raise InputLostError(attempt, f"worker {source.worker} is gone or serves no intermediate data")
        if remote:
            for place, part in fetch(remote, fetched).items():
                source, spill = files[place]
                slices[place] = part if spill == PART else replace(part, map_index=source.attempt.task.index)
        return [slices[place] for place in range(len(files))]

    def _local_folder(self, source: Source, folder: Path) -> str | None:
        """Where the source's files can be read on this machine, or None."""
        if source.worker == self._worker:
            return str(folder.with_name(source.attempt.task.job))  # next to it, where it is a kept job's
        if source.folder and not source.address:
            theirs = Path(source.folder) / source.attempt.task.job
            if os.access(theirs, os.R_OK | os.X_OK):
                return str(theirs)
        return None
