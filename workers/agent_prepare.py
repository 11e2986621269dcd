"""Making ready for jobs: their blobs are fetched, their code is loaded and the inputs are looked at. Pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from mapreduce.config import DIED_ATTEMPTS
from mapreduce.plan import JOB_ID, Failure, FailureKind
from mapreduce.protocol.messages import BlobData, NoBlob, Prepared, PrepareJob
from workers.agent_attempts import signed
from workers.agent_events import BlobBroken, BlobStored, DeleteShared, Effect, Tell
from workers.agent_jobs import SHARED_ROLES, HeldJob, Stage, problem
from workers.agent_pool import Pool, Role, TaskProcess
from workers.agent_session import Session
from workers.task_messages import JobProbed, ProbeJob


class Preparation:
    """The jobs that an agent holds, ready or on their way.

    `folder` is where jobs' folders lie, by their ids, and `shared` where the blobs lie that jobs share, by their sums;
    `saved` is where map results of failed jobs are.
    """

    def __init__(self, session: Session, pool: Pool, worker: str, folder: PurePath, *, shared: str, saved: str) -> None:
        self._session = session
        self._pool = pool
        self._worker = worker
        self._folder_of_jobs = folder
        self._shared_folder = shared
        self._saved_folder = saved
        self._shared: dict[str, None] = {}  # what lies there
        self.jobs: dict[str, HeldJob] = {}

    def output(self, job: str) -> str:
        """A job's output folder, "" while it is unknown."""
        held = self.jobs.get(job)
        return held.output if held is not None else ""

    def tick(self, now_s: float) -> list[Effect]:
        """Ask for what is due of all jobs."""
        return [effect for job in self.jobs.values() for effect in self.ask(job, now_s)]

    def session_begun(self, now_s: float) -> list[Effect]:
        """Ask again for what was asked before, and say again what was refused."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            for blob in job.blobs.values():
                blob.asked_s = float("-inf")
            effects += self.ask(job, now_s)
            if job.stage is Stage.REFUSED:
                effects += self._refusal(job)
            elif job.stage is Stage.READY and job.saved:  # a coordinator that has started again does not know of it
                effects += self._ready(job)
        return effects

    def prepare(self, message: PrepareJob, now_s: float) -> list[Effect]:
        """Begin with a job, or answer again for one that is known."""
        job = self.jobs.get(message.job)
        if job is not None:
            answered = job.stage in {Stage.READY, Stage.REFUSED}
            return self._session.send(Prepared(job.job, job.problem, job.saved)) if answered else []
        if not JOB_ID.fullmatch(message.job):
            failure = problem(f"{message.job[:40]!r} cannot be the id of a job: it names a folder")
            return self._session.send(Prepared(message.job, signed(failure, self._worker, None)))
        folder = str(self._folder_of_jobs / message.job)
        job = self.jobs[message.job] = HeldJob.of(
            message, folder, self._shared_folder, self._shared, self._saved_folder
        )
        return self.ask(job, now_s)

    def ask(self, job: HeldJob, now_s: float) -> list[Effect]:
        """Ask for the pieces of a job's blobs that are due."""
        return [effect for request in job.wanted(now_s) for effect in self._session.send(request)]

    def blob_data(self, message: BlobData, now_s: float) -> list[Effect]:
        """A piece of a blob has come."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            fetching = job.stage is Stage.FETCHING
            effects += job.take(message)
            if fetching and job.problem is not None:
                effects += self.refuse(job, job.problem)
            effects += self.ask(job, now_s)
        return effects

    def no_blob(self, message: NoBlob, _now_s: float) -> list[Effect]:
        """The coordinator does not have a blob."""
        effects: list[Effect] = []
        for job in self.jobs.values():
            roles = [role for role, blob in job.blobs.items() if blob.sha256 == message.sha256 and not blob.complete]
            if job.stage is Stage.FETCHING and roles:
                effects += self.refuse(job, problem(f"the coordinator does not have the job's {roles[0]} any more"))
        return effects

    def blob_stored(self, event: BlobStored, _now_s: float) -> list[Effect]:
        """A blob lies on disk: with the last one, the job is loaded and probed."""
        job = self.jobs.get(event.job)
        if job is None:  # it is over: whoever else wants the blob has it, or stores it anew
            unwanted = event.role in SHARED_ROLES and event.sha256 not in self._shared.keys() | self._wanted()
            return [DeleteShared(event.sha256)] if unwanted else []
        if event.role in SHARED_ROLES:
            self._shared[event.sha256] = None
        if not job.stored(event.role):
            return []
        job.stage = Stage.PROBING
        return self._probe(job) + self._pool.load_ahead(job)

    def _probe(self, job: HeldJob) -> list[Effect]:
        process, effects = self._pool.take(job, Role.PROBING)
        return [*effects, Tell(process.number, ProbeJob(job.job))]

    def blob_broken(self, event: BlobBroken, _now_s: float) -> list[Effect]:
        """A blob could not be stored."""
        job = self.jobs.get(event.job)
        if job is None or job.stage is not Stage.FETCHING:
            return []
        kind = FailureKind.DISK if event.disk else FailureKind.FATAL
        return self.refuse(job, problem(f"the job's {event.role} could not be stored: {event.reason}", kind))

    def probed(self, process: TaskProcess, message: JobProbed) -> list[Effect]:
        """A task process has loaded the job and looked at its inputs, or could not."""
        effects = self._pool.kill(process) if message.problem else self._pool.release(process)
        job = self.jobs.get(message.job)
        if job is None or job.stage is not Stage.PROBING:
            return effects
        job.output = message.output
        if message.problem is not None:
            return effects + self.refuse(job, message.problem)
        job.stage, job.saved = Stage.READY, message.saved
        return effects + self._ready(job)

    def _ready(self, job: HeldJob) -> list[Effect]:
        return self._session.send(Prepared(job.job, saved=job.saved))

    def probe_died(self, process: TaskProcess, how: str) -> list[Effect]:
        """The process that loaded and probed a job died: try another, since the neighbours may be at fault."""
        job = self.jobs.get(process.job)
        if job is None or job.stage is not Stage.PROBING:
            return []
        job.probe_deaths += 1
        if job.probe_deaths < DIED_ATTEMPTS:
            return self._probe(job)
        text = (
            f"the task process died ({how}) while it loaded the job's code and looked at the inputs, "
            f"{DIED_ATTEMPTS} times in a row"
        )
        return self.refuse(job, replace(problem(text), stderr=process.tail.text()))

    def refuse(self, job: HeldJob, failure: Failure) -> list[Effect]:
        """Say that this worker cannot run a job."""
        job.refuse(signed(failure, self._worker, None))
        return self._refusal(job)

    def unshare(self) -> list[Effect]:
        """Delete the shared blobs that neither a job nor a process wants any more."""
        wanted = self._wanted()
        effects: list[Effect] = []
        for sha256 in [sha256 for sha256 in self._shared if sha256 not in wanted]:
            del self._shared[sha256]
            effects.append(DeleteShared(sha256))
        return effects

    def _wanted(self) -> set[str]:
        """The sums of all blobs of jobs and processes."""
        return self._pool.shared() | {blob.sha256 for job in self.jobs.values() for blob in job.blobs.values()}

    def _refusal(self, job: HeldJob) -> list[Effect]:
        return self._session.send(Prepared(job.job, job.problem))
