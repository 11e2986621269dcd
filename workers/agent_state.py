"""The agent's mind: a pure machine with one door, `handle(event, now_s) -> effects`.

Owns what the agent knows: its session, the jobs it holds, its task processes, the attempts under way and their
outcomes until the coordinator has answered them. No clock, no I/O, no user code; time is an argument. Attempts go on
while there is no session; a new session is told all that is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from mapreduce.config import TICK_S
from mapreduce.plan import JOB_ID, AttemptId, Failure, FailureKind
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    BlobData,
    CancelAttempt,
    Dropped,
    ForgetJob,
    Granted,
    Heartbeat,
    Leave,
    NoBlob,
    PrepareJob,
    Progress,
    Refused,
    Register,
    Results,
    RunAttempt,
)
from workers.agent_attempts import EndingJob, Running, death, inventories
from workers.agent_events import (
    BlobBroken,
    BlobStored,
    DeleteAttempt,
    DeleteJob,
    Effect,
    Event,
    Exit,
    LineBlocked,
    LineOpen,
    Note,
    OutputLeft,
    ProcessAt,
    ProcessEnded,
    ProcessPrinted,
    ProcessSaid,
    Received,
    StopAsked,
    TakeBack,
    TakenBack,
    Tell,
    Tick,
)
from workers.agent_jobs import Stage
from workers.agent_line import BEHIND_S, Line
from workers.agent_outcomes import Outcomes
from workers.agent_pool import Pool, Role, TaskProcess
from workers.agent_prepare import Preparation
from workers.agent_session import Session, SessionBegun
from workers.agent_stopping import Stopping
from workers.killers import Hunt
from workers.task_messages import (
    AddSources,
    CleanOutput,
    Doing,
    JobProbed,
    OutputCleaned,
    RunEach,
    TaskDone,
    TaskFailed,
    TasksDone,
)

PROGRESS_PER_MESSAGE = 500  # attempts in one Progress: at most 200 bytes each, so that it fits a control frame
SOURCES_PER_MESSAGE = 2000  # in one AddSources: a megabyte or so


class AgentState:
    """One agent's state.

    `jobs_folder` is where jobs' folders lie, by their ids, `shared_folder` where blobs lie that jobs share, and
    `saved_folder` where map results of failed jobs are. With `one_job` the agent leaves when that is over.
    """

    def __init__(
        self, register: Register, jobs_folder: str, shared_folder: str, saved_folder: str = "", *, one_job: bool = False
    ) -> None:
        self._worker = register.name or register.worker
        self._session = Session(register)
        self._pool = Pool(register.slots, one_job=one_job)
        folder = PurePath(jobs_folder)
        self._preparation = Preparation(
            self._session, self._pool, self._worker, folder, shared=shared_folder, saved=saved_folder
        )
        self._jobs = self._preparation.jobs
        self._ending: dict[str, EndingJob] = {}
        self._running: dict[AttemptId, Running] = {}
        self._line = Line(self._running)  # of those running, what waits for a slot
        self._now_s = float("-inf")
        self._outcomes = Outcomes(self._session, self._worker)
        self._stopping = Stopping(self._running, self._line, self._pool, self._outcomes, self._preparation.output)
        self._next_news_s = 0.0
        self._handlers: dict[type[Any], Callable[..., list[Effect]]] = {
            Tick: lambda _event, now_s: self._tick(now_s),
            Received: self._received,
            LineBlocked: self._line_blocked,
            LineOpen: lambda _event, now_s: self._session.line_open(now_s),
            ProcessSaid: self._process_said,
            ProcessAt: lambda event, _now_s: self._pool.seen_at(event.process, event.turn),
            TakenBack: lambda event, _now_s: self._stopping.taken_back(event) + self._start_next(),
            ProcessPrinted: self._process_printed,
            ProcessEnded: self._process_ended,
            BlobStored: self._preparation.blob_stored,
            BlobBroken: self._preparation.blob_broken,
            OutputLeft: self._output_left,
            StopAsked: self._stop,
            SessionBegun: lambda _message, now_s: self._session_begun(now_s),
            Refused: lambda message, _now_s: [Exit(2, message.reason)],
            Heartbeat: lambda message, _now_s: self._outcomes.heartbeat(message),
            PrepareJob: self._prepare,
            Results: self._results,
            RunAttempt: self._run,
            CancelAttempt: lambda message, _now_s: self._drop(message.attempt),
            Granted: lambda message, _now_s: self._outcomes.granted(message.attempt),
            Dropped: lambda message, _now_s: self._drop(message.attempt),
            ForgetJob: self._forget,
            BlobData: self._preparation.blob_data,
            NoBlob: self._preparation.no_blob,
        }

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take an event at the monotonic time `now_s`; give what is to be done, in order."""
        self._now_s = now_s
        return self._handlers[type(event)](event, now_s)

    def start(self) -> list[Effect]:
        """What to do first: start the task processes ahead."""
        return self._pool.fill()

    def outputs(self) -> list[tuple[str, str]]:
        """The jobs that are held, with their output folders, as far as these are known."""
        return [(job.job, job.output) for job in self._jobs.values() if job.output]

    # --------------------------------------------------------------------------------------- time and session

    def _tick(self, now_s: float) -> list[Effect]:
        effects = self._session.tick(now_s)
        effects += self._pool.cool(now_s) + self._pool.fill()
        effects += [TakeBack(number) for number in self._pool.holding_up(now_s - BEHIND_S)]
        if not self._session.id:
            return effects
        effects += self._preparation.tick(now_s)
        if now_s >= self._next_news_s:
            self._next_news_s = now_s + TICK_S
            effects += self._progress()
            for running in self._running.values():
                effects += self._outcomes.flush_log(running)
        return effects

    def _received(self, event: Received, now_s: float) -> list[Effect]:
        messages, effects = self._session.receive(event.envelope, now_s)
        for message in messages:
            handler = self._handlers.get(type(message))
            if handler is None:
                effects.append(Note(f"the coordinator sent {type(message).__name__}, which agents do not take"))
            else:
                effects += handler(message, now_s)
        return effects

    def _line_blocked(self, event: LineBlocked, now_s: float) -> list[Effect]:
        return self._session.drop("the coordinator takes no messages", now_s) if event.numbered else []

    def _session_begun(self, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        ready = [job.job for job in self._jobs.values() if job.stage is Stage.READY]
        held = self._outcomes
        for inventory in inventories(list(self._running), list(held.waiting), list(held.kept), ready):
            effects += self._session.send(inventory)
        effects += self._preparation.session_begun(now_s)
        return effects + held.tell_again()

    def _progress(self) -> list[Effect]:
        news = [running for running in self._running.values() if running.news]
        effects: list[Effect] = []
        for start in range(0, len(news), PROGRESS_PER_MESSAGE):
            some = news[start : start + PROGRESS_PER_MESSAGE]
            effects += self._session.send(Progress(tuple((r.attempt, r.records, r.bytes_read) for r in some)))
        for running in news:
            running.news = False
        return effects

    def _stop(self, event: StopAsked, _now_s: float) -> list[Effect]:
        return [*self._session.send(Leave(event.reason)), Exit(0, event.reason)]

    # --------------------------------------------------------------------------------------- attempts

    def _results(self, message: Results, _now_s: float) -> list[Effect]:
        job = self._jobs.get(message.job)
        if job is not None:
            job.add_results(message)
        return []

    def _run(self, message: RunAttempt, _now_s: float) -> list[Effect]:
        attempt = message.attempt
        if attempt in self._running or attempt in self._outcomes:
            return []
        job = self._jobs.get(attempt.task.job)
        if job is None or job.stage is not Stage.READY:
            failure = Failure(FailureKind.LOST, "the worker was given an attempt of a job that it is not ready for")
            return self._finish(attempt, AttemptFailed(attempt, self._outcomes.signed(failure, attempt)))
        hunt = Hunt(aside=message.puts_aside) if message.careful else None
        self._running[attempt] = Running(attempt, 0, message.previous, hunt)
        self._line.add(attempt)
        return self._start_next()

    def _start_next(self) -> list[Effect]:
        """Start what waits for a slot, in its order, as far as there are slots."""
        effects: list[Effect] = []
        while self._pool.has_slot and (some := self._line.take(self._pool.slots)):
            effects += self._start(some)
        return effects

    def _start(self, some: Sequence[Running]) -> list[Effect]:
        """Have a process run an attempt, or several, one after the other."""
        job = self._jobs[some[0].attempt.task.job]
        process, effects = self._pool.take(job, Role.RUNNING)
        process.hand([running.attempt for running in some], self._now_s)
        for running in some:
            running.process = process.number
        if job.reads_sources(some[0].attempt.task):
            news = job.sources_after(process.told)
            process.told = job.version
            for start in range(0, len(news), SOURCES_PER_MESSAGE):
                effects.append(Tell(process.number, AddSources(news[start : start + SOURCES_PER_MESSAGE])))
        if len(some) == 1:
            return [*effects, Tell(process.number, some[0].order())]
        order = RunEach(process.turn, tuple(process.handed), some[0].previous)
        return [*effects, Tell(process.number, order)]

    def _drop(self, attempt: AttemptId) -> list[Effect]:
        """Stop the attempt if it runs, and delete what it made."""
        running = self._running.get(attempt)
        if running is not None:
            return self._stopping.stop(running)
        known = self._outcomes.drop(attempt)
        return [DeleteAttempt(attempt, self._preparation.output(attempt.task.job))] if known else []

    def _finish(self, attempt: AttemptId, message: AttemptDone | AttemptFailed) -> list[Effect]:
        return self._outcomes.finish(self._running.pop(attempt, None), message)

    # --------------------------------------------------------------------------------------- task processes

    def _process_said(self, event: ProcessSaid, _now_s: float) -> list[Effect]:
        process, message = self._pool.get(event.process), event.message
        if process is None or process.role is Role.DYING:
            return []
        if isinstance(message, Doing):
            running = self._running.get(process.at_hand) if process.at_hand else None
            if running is not None:
                running.records, running.bytes_read = message.records, message.bytes_read
                running.path, running.offset, running.news = message.path, message.offset, True
            return []
        if isinstance(message, JobProbed):
            return self._preparation.probed(process, message)
        if isinstance(message, OutputCleaned):
            notes: list[Effect] = [Note(message.problem)] if message.problem else []
            return notes + self._pool.kill(process)
        if isinstance(message, TasksDone):
            return self._tasks_done(process, message.done, printed=message.printed)
        if isinstance(message, TaskDone):
            return self._tasks_done(process, (message,))
        if message.attempt != process.attempt:
            return [Note(f"{message.attempt} was not running in the process that says it is over")]
        return self._task_failed(process, message)

    def _tasks_done(self, process: TaskProcess, told: tuple[TaskDone, ...], *, printed: bool = False) -> list[Effect]:
        begun_s, process.since_s = process.since_s, self._now_s
        notes: list[Effect] = []
        done: list[TaskDone] = []
        for one in told:
            if one.attempt != process.attempt:
                notes.append(Note(f"{one.attempt} was not running in the process that says it is over"))
                continue
            done.append(one)
            process.finish()
        if not done:
            return notes
        task, running = done[0].attempt.task, self._running[done[0].attempt]
        if running.hunt is not None and running.hunt.done() and not running.cancelled:
            return self._pool.release(process) + self._start([running])
        self._line.note_pace(task, (self._now_s - begun_s) / len(done))
        if printed:
            self._line.go_alone(task.job)
            self._line.put_back(process.take_back(process.turn))
        if process.attempt is None:  # first: a process should not wait for us
            notes += self._pool.release(process) + self._start_next()
        for one in done:
            notes += self._stopping.done(one)
        return notes

    def _task_failed(self, process: TaskProcess, message: TaskFailed) -> list[Effect]:
        attempt = message.attempt
        if self._running[attempt].cancelled:
            return self._stopping.kill_at_hand(process, self._running[attempt])
        effects = self._finish(attempt, AttemptFailed(attempt, self._outcomes.signed(message.failure, attempt)))
        return effects + self._pool.kill(process, drop=attempt) + self._start_next()

    def _process_printed(self, event: ProcessPrinted, _now_s: float) -> list[Effect]:
        process = self._pool.get(event.process)
        if process is not None:
            process.tail.add(event.text)
            if process.at_hand in self._running:
                self._running[process.at_hand].printed(event.text)
        return []

    def _process_ended(self, event: ProcessEnded, _now_s: float) -> list[Effect]:
        process = self._pool.ended(event.process)
        if process is None:
            return []
        effects: list[Effect] = []
        attempt = process.drop
        left = process.left or [one for one in process.handed if one != process.at_hand]
        process.attempt = process.at_hand
        if process.attempt is not None:
            attempt, died = self._died(process, event)
            effects += died
        elif process.role is Role.PROBING:
            effects += self._preparation.probe_died(process, event.how)
        elif process.role is not Role.DYING:
            effects.append(Note(f"an idle task process ended: {event.how}; {process.tail.text()}"))
        if process.stopped is not None:  # its slot is free only now
            effects += self._outcomes.say_stopped(process.stopped)
        for one in left:  # it may have begun them, or ended them and not told
            if one in self._running:
                self._running[one].again = True
        effects += self._stopping.wait_again(left)
        if attempt is not None and process.job not in self._ending:
            effects.append(DeleteAttempt(attempt, self._preparation.output(attempt.task.job)))
        if process.used:
            effects += self._pool.fill()  # one that died unused is replaced at the next tick: never in a hot loop
        return effects + self._end_job(process.job) + self._preparation.unshare() + self._start_next()

    def _died(self, process: TaskProcess, event: ProcessEnded) -> tuple[AttemptId | None, list[Effect]]:
        """The process of an attempt is gone. Gives the attempt, unless another process goes on with it."""
        assert process.attempt is not None
        running, tail = self._running[process.attempt], process.tail.text()
        if running.cancelled:
            running.again = True
            return None, self._stopping.stopped(running)
        failure = self._outcomes.signed(death(running, event, tail), running.attempt)
        if running.died(event.how, event.mark):
            again: list[Effect] = [Note(f"{running.attempt} starts again: {failure.message}")]
            return None, again + self._start([running])
        return running.attempt, self._finish(running.attempt, AttemptFailed(running.attempt, failure))

    # --------------------------------------------------------------------------------------- jobs' beginning and end

    def _prepare(self, message: PrepareJob, now_s: float) -> list[Effect]:
        if message.job in self._ending:
            self._ending[message.job].again = message
            return []
        return self._preparation.prepare(message, now_s)

    def _forget(self, message: ForgetJob, _now_s: float) -> list[Effect]:
        if not JOB_ID.fullmatch(message.job) or message.job in self._ending:
            return []
        job = self._jobs.pop(message.job, None)
        self._line.forget(message.job)
        self._ending[message.job] = EndingJob(message.clean_output, message.save, message.drop)
        effects: list[Effect] = []
        for attempt in [a for a, one in self._running.items() if a.task.job == message.job and not one.process]:
            effects += self._outcomes.say_stopped(attempt)
        for attempt in [attempt for attempt in self._running if attempt.task.job == message.job]:
            del self._running[attempt]
        self._outcomes.forget(message.job)
        effects += self._pool.leave(message.job, loads=job is not None and job.stage is Stage.READY)
        return effects + self._end_job(message.job) + self._preparation.unshare() + self._start_next()

    def _end_job(self, job: str) -> list[Effect]:
        """Delete a job that is over once nothing of it runs any more."""
        if job not in self._ending or self._pool.of_job(job):
            return []
        ending = self._ending.pop(job)
        effects: list[Effect] = [DeleteJob(job, ending.output, ending.save, ending.drop)]
        if ending.again is not None:
            effects += self._prepare(ending.again, float("-inf"))
        return effects

    def _output_left(self, event: OutputLeft, _now_s: float) -> list[Effect]:
        process, effects = self._pool.take(None, Role.CLEANING)
        return [*effects, Tell(process.number, CleanOutput(event.job, event.output))]
