"""The jobs that an agent holds: fetching their blobs, whether they are ready, and the sources told so far. Pure."""

from __future__ import annotations

import enum
from collections.abc import Container
from dataclasses import field

from mapreduce.config import BLOB_BYTES
from mapreduce.plan import Failure, FailureKind, TaskId, TaskKind
from mapreduce.protocol import plain
from mapreduce.protocol.messages import BlobData, GetBlob, PrepareJob, Results, Source
from mapreduce.quick_dataclass import dataclass
from workers.agent_events import StorePiece
from workers.task_messages import LoadJob

BLOB_RETRY_S = 2.0  # a piece without an answer is asked for again: a coordinator answers within milliseconds
ROLES = ("code", "setup", "plan", "probe", "files")
SHARED_ROLES = ("code", "files")  # what is the same for many jobs is kept once, for all that want it


class Stage(enum.StrEnum):
    """How far a job is on this worker."""

    FETCHING = "fetching"
    PROBING = "probing"
    READY = "ready"
    REFUSED = "refused"


def problem(message: str, kind: FailureKind = FailureKind.FATAL) -> Failure:
    """Why this worker cannot run a job."""
    return Failure(kind, message)


@dataclass(slots=True)
class Blob:
    """One blob under way: `have` bytes of `total` have come; `asked_s` is when the next piece was asked for."""

    sha256: str
    asked_s: float = float("-inf")
    have: int = 0
    total: int | None = None
    stored: bool = False

    @property
    def complete(self) -> bool:
        """Whether all of it has come, stored or not."""
        return self.have == self.total


@dataclass(slots=True)
class HeldJob:
    """One job on this worker. `load` tells a task process to serve it; `warm` is as in PrepareJob.

    `saved` says of which of its map tasks a failed job has left the results here, as in Prepared.
    """

    job: str
    blobs: dict[str, Blob]
    load: LoadJob
    warm: str = ""
    stage: Stage = Stage.FETCHING
    output: str = ""
    problem: Failure | None = None
    probe_deaths: int = 0
    version: int = 0
    saved: bytes = b""
    reads_kept: bool = False
    sources: dict[tuple[int, bool, int], tuple[int, Source, bytes]] = field(default_factory=dict)

    @staticmethod
    def of(message: PrepareJob, folder: str, shared: str, here: Container[str], saved: str) -> HeldJob:
        """The job that is to be prepared, in `folder`; of it the blobs `here` lie in the folder `shared` already.

        `saved` is where map results of failed jobs are.
        """
        shas = (message.code, message.setup, message.plan, message.probe, message.files)
        blobs = {role: Blob(sha256) for role, sha256 in zip(ROLES, shas, strict=True) if sha256}
        for role in SHARED_ROLES:
            if role in blobs and blobs[role].sha256 in here:
                blobs[role] = Blob(blobs[role].sha256, have=0, total=0, stored=True)
        load = LoadJob(message.job, folder, shared, message.code, message.files, saved)
        return HeldJob(message.job, blobs, load, message.warm)

    def refuse(self, failure: Failure) -> None:
        """This worker cannot run the job."""
        self.stage, self.problem = Stage.REFUSED, failure

    def wanted(self, now_s: float) -> list[GetBlob]:
        """The pieces to ask for now."""
        if self.stage is not Stage.FETCHING:
            return []
        asked = []
        for blob in self.blobs.values():
            if not blob.complete and now_s >= blob.asked_s + BLOB_RETRY_S:
                blob.asked_s = now_s
                asked.append(GetBlob(blob.sha256, blob.have))
        return asked

    def take(self, piece: BlobData) -> list[StorePiece]:
        """Take a piece that came. Pieces that nobody waits for are ignored."""
        if self.stage is not Stage.FETCHING:
            return []
        pieces = []
        for role, blob in self.blobs.items():
            end = piece.offset + len(piece.data)
            if blob.complete or (piece.sha256, piece.offset) != (blob.sha256, blob.have) or end > piece.total:
                continue
            if piece.total > BLOB_BYTES:
                self.refuse(problem(f"the job's {role} has {piece.total} bytes; the limit is {BLOB_BYTES}"))
                return []
            if not piece.data and piece.total:
                continue
            blob.have, blob.total = end, piece.total
            blob.asked_s = float("-inf")
            pieces.append(StorePiece(self.job, role, blob.sha256, piece.offset, piece.total, piece.data))
        return pieces

    def stored(self, role: str) -> bool:
        """A blob lies on disk; give whether all do now."""
        self.blobs[role].stored = True
        return self.stage is Stage.FETCHING and all(blob.stored for blob in self.blobs.values())

    def add_results(self, results: Results) -> None:
        """Learn where committed results lie."""
        for source in results.sources:
            key = (results.step, results.of_maps, source.attempt.task.index)
            known = self.sources.get(key)
            if known is not None and known[1] == source:
                continue  # told again, as after a new session: who knows it needn't hear it
            self.sources.pop(key, None)  # they are in the order of their versions
            self.version += 1
            self.reads_kept = self.reads_kept or results.step < 0
            one = Results(results.job, results.step, results.of_maps, (source,))
            self.sources[key] = (self.version, source, plain.pack(one))

    def sources_after(self, version: int) -> tuple[bytes, ...]:
        """The sources that who knows `version` does not know yet."""
        found = []
        for number, _, packed in reversed(self.sources.values()):
            if number <= version:
                break
            found.append(packed)
        return tuple(reversed(found))

    def reads_sources(self, task: TaskId) -> bool:
        """Whether a task may read results of others: a map task of the first step reads those of other jobs at most."""
        return self.reads_kept or task.step > 0 or task.kind is not TaskKind.MAP
