"""A task process: serves one job's code, one attempt at a time, until its agent is gone or has it killed.

Owns the step from commands to the data plane's functions and back. Everything that user code prints goes through the
log pipe, file descriptors 1 and 2 included. A user's project may bring its own `workers` package, which then takes the
place of ours in `sys.modules`: so nothing of ours is imported after start-up.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mapreduce.dataflow.inputs.probe import check_probe
from mapreduce.dataflow.inputs.split_file import split_at
from mapreduce.dataflow.manifest.folder import remove_attempts
from mapreduce.dataflow.saved_use import bitmap, saved_maps, take_saved
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.tasks.task import TaskSetup, failure_of, run_commit, run_map, run_reduce
from mapreduce.errors import MapReduceError
from mapreduce.plan import Done, Failure, FailureKind, Probe, Split, TaskKind
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Results
from mapreduce.tracebacks import user_traceback
from mapreduce.travel.loader import LoadedCode, LoadedJob
from mapreduce.travel.side_files import travelled_files
from workers.marks import MarkWriter
from workers.scratch import blob_path, delete_attempt, delete_private_output, fetch_path
from workers.shuffle_messages import MESSAGE_TYPES as SHUFFLE_TYPES
from workers.task_link import TaskLink
from workers.task_messages import (
    MESSAGE_TYPES,
    AddSources,
    CleanOutput,
    Doing,
    JobProbed,
    LoadJob,
    OutputCleaned,
    ProbeJob,
    Run,
    RunEach,
    TaskDone,
    TaskFailed,
    TasksDone,
)
from workers.task_sources import Sources
from workers.turns import TurnTaker

# The annotations of our messages are looked up in our modules, which a user's `workers` may replace.
plain.prepare(*MESSAGE_TYPES.values(), *SHUFFLE_TYPES.values(), Results, Probe, Split)

HOLD_S = 0.01  # that a result waits for those of the attempts behind it: nobody notices
PROGRESS_S = 0.25  # between reports of progress: people see no more


def run_task_process(link: int, logs: int, marks: int, turns: int, arguments: list[str]) -> int:
    """Be a task process in this freshly forked process; give the exit code.

    `marks` is memory that the agent shares (see `marks`), `turns` the descriptor of its turns (see `turns`);
    `arguments` are worker id and name.
    """
    os.dup2(logs, 1)
    os.dup2(logs, 2)
    os.close(logs)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - it lives as long as the process
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    faulthandler.enable(file=2)  # a crash in native code says where
    worker, name = arguments
    writer = MarkWriter(marks)
    os.close(marks)
    return TaskProcess(TaskLink(socket.socket(fileno=link)), writer, TurnTaker(turns), worker, name).serve()


class TaskProcess:
    """Serves one job, or several with the same code. A job that does not load fails whatever is asked of it."""

    def __init__(self, link: TaskLink, marks: MarkWriter, turns: TurnTaker, worker: str, name: str) -> None:
        self._link = link
        self._marks = marks
        self._turns = turns
        self._held: list[TaskDone] = []
        self._worker, self._name = worker, name
        self._sources = Sources(worker)
        self._folder = self._saved = Path()
        self._code: LoadedCode | None = None
        self._broken: Failure | None = None
        self._job: LoadedJob | None = None
        self._problem: Failure | None = None
        self._plan: bytes | None = None

    def serve(self) -> int:
        """Do what the agent says until it is gone."""
        while (message := self._link.receive()) is not None:
            if isinstance(message, LoadJob):
                self._load(message)
            elif isinstance(message, ProbeJob):
                self._probe(message)
            elif isinstance(message, AddSources):
                self._learn(message)
            elif isinstance(message, Run):
                self._link.send(self._run(message))
            elif isinstance(message, RunEach):
                self._run_each(message)
            elif isinstance(message, CleanOutput):
                self._clean(message)
        return 0

    def _load(self, message: LoadJob) -> None:
        """Serve a job; the code is loaded once, and the jobs after the first are only set up."""
        self._folder, self._plan, self._sources = Path(message.folder), None, Sources(self._worker)
        self._saved = Path(message.saved)
        self._job, self._problem = None, self._broken
        if self._broken is not None:
            return
        shared = Path(message.shared)
        try:
            if self._code is None:
                self._code = LoadedCode((shared / message.code).read_bytes())
            files = travelled_files(shared / message.files) if message.files else {}
            self._job = self._code.setup(blob_path(self._folder, "setup").read_bytes(), files)
        except BaseException as error:  # noqa: BLE001 - the user's module ran: whatever it raised is reported
            self._problem = self._load_failure(error)
            if self._code is None:
                self._broken = self._problem  # half of a package is loaded here: no other can be

    def _learn(self, message: AddSources) -> None:
        """Learn sources; what was loaded of a kept result is not to be used when it has been made again."""
        steps = [self._sources.add(packed) for packed in message.packed]
        if self._job is not None and any(step < 0 for step in steps):
            self._job.memo.clear()

    def _load_failure(self, error: BaseException) -> Failure:
        text = str(error) if isinstance(error, MapReduceError) else f"{type(error).__name__}: {error}"
        first, _, rest = text.partition("\n")
        trace = rest if isinstance(error, MapReduceError) else user_traceback(error)
        return Failure(FailureKind.FATAL, f"worker {self._name}: {first}", traceback=trace, worker=self._name)

    def _probe(self, message: ProbeJob) -> None:
        if self._job is None:
            _flush()
            self._link.send(JobProbed(message.job, "", self._problem))
            return
        problem = None
        try:
            check_probe(plain.unpack(Probe, blob_path(self._folder, "probe").read_bytes()))
        except (MapReduceError, OSError) as error:
            problem = Failure(FailureKind.FATAL, f"worker {self._name}: {error}", worker=self._name)
        saved = b"" if problem else bitmap(self._saved_maps(self._job))
        _flush()
        self._link.send(JobProbed(message.job, self._job.options.output, problem, saved))

    def _saved_maps(self, job: LoadedJob) -> Iterable[int]:
        """The map tasks whose results the job that this one resumes has left here."""
        options = job.options
        if not options.resumes or not options.identities:
            return ()
        maps = options.steps[0].maps
        joined = self._split(maps) if job.job.resolved[0].broadcasts else None
        splits = map(self._split, range(maps))
        return saved_maps(self._saved, options.resumes, options.identities[0], splits, joined)

    def _run_each(self, message: RunEach) -> None:
        """Run attempts as far as it is their turn; say several at once that they are done."""
        since_s = time.monotonic()
        for turn, attempt in enumerate(message.attempts, message.first):
            self._link.only_owner()
            self._marks.begin_turn(turn)  # first: who sees that it is not taken back must see that it is at hand
            if not self._turns.take(turn):
                break
            outcome = self._run(Run(attempt, message.previous))
            if isinstance(outcome, TaskFailed):
                self._tell_held()
                self._link.send(outcome)
                return  # the process is not used any more
            self._held.append(outcome)
            if _has_printed():  # what the next would print could not be told from it
                self._turns.give_up()
                self._tell_held(printed=True)
                return
            if time.monotonic() - since_s > HOLD_S:
                self._tell_held()
                since_s = time.monotonic()
        self._tell_held()

    def _tell_held(self, *, printed: bool = False) -> None:
        if self._held:
            self._link.send(TasksDone(tuple(self._held), printed))
            self._held.clear()

    def _run(self, message: Run) -> TaskDone | TaskFailed:
        """Run an attempt; give what is to be told of it."""
        attempt = message.attempt
        if self._job is None:
            assert self._problem is not None, "an attempt of a job that was never loaded"
            return TaskFailed(attempt, self._problem)
        reporter = Reporter(self._link, self._marks, self._tell_held)
        setup = TaskSetup(self._job, attempt, self._folder, message.previous)
        setup.on_progress = lambda records, size: reporter.report(setup, records, size)
        if message.careful:
            setup.careful, setup.mark = True, self._marks
            setup.skip, setup.alone = message.skip, frozenset(message.alone)
        try:
            if message.again:
                self._clear(setup)
            done = self._attempt(setup, reporter)
        except BaseException as error:  # noqa: BLE001 - judged and reported, SystemExit and KeyboardInterrupt as well
            failure = _judge(error, setup)
            self._marks.clear()
            _flush()
            return TaskFailed(attempt, failure)
        self._marks.clear()
        _flush()
        return TaskDone(attempt, done)

    def _clear(self, setup: TaskSetup) -> None:
        """Delete what another process, which died over it, has left of the attempt."""
        delete_attempt(self._folder, setup.attempt)
        delete_private_output(setup.options.output, setup.attempt)

    def _attempt(self, setup: TaskSetup, reporter: Reporter) -> Done:
        attempt = setup.attempt
        task = attempt.task
        if task.kind is TaskKind.MAP and task.step == 0:
            return self._first_map(setup, reporter)
        if task.kind is TaskKind.COMMIT:
            return run_commit(setup, self._sources.parts(task.step), self._sources.with_bad())
        fetched = fetch_path(self._folder, attempt)
        try:
            if task.kind is TaskKind.MAP:
                return run_map(setup, None, self._sources.part_slices(task.step - 1, task.index, self._folder, fetched))
            reduces = setup.options.steps[task.step].reduces
            slices = self._sources.run_slices(task.step, task.index, reduces, self._folder, fetched)
            return run_reduce(setup, slices)
        finally:
            fetched.unlink(missing_ok=True)

    def _first_map(self, setup: TaskSetup, reporter: Reporter) -> Done:
        """A map attempt of the first step: on its split, and what that names of kept results."""
        split = self._split(setup.attempt.task.index)
        if split.pieces:
            reporter.start(split.pieces[0].path, split.pieces[0].start)
        if split.kept is None and not setup.plan.broadcasts:  # most read files alone, of many a small one
            reused = take_saved(setup, split, self._saved)
            return reused if reused is not None else run_map(setup, split)
        fetched = fetch_path(self._folder, setup.attempt)
        fetched_all = fetch_path(self._folder, setup.attempt, broadcast=True)
        if setup.plan.broadcasts:
            joined = self._split(setup.options.steps[0].maps)
            setup.broadcast = joined
            setup.broadcast_parts = lambda: self._kept_slices(joined, fetched_all)
        try:
            reused = take_saved(setup, split, self._saved)
            return reused if reused is not None else run_map(setup, split, self._kept_slices(split, fetched))
        finally:
            fetched.unlink(missing_ok=True)
            fetched_all.unlink(missing_ok=True)

    def _kept_slices(self, split: Split, fetched: Path) -> list[Slice]:
        """What a split reads of a kept result."""
        if split.kept is None:
            return []
        number, part = split.kept
        return self._sources.part_slices(-1 - number, part, self._folder, fetched)

    def _split(self, index: int) -> Split:
        if self._plan is None:
            self._plan = blob_path(self._folder, "plan").read_bytes()
        return split_at(self._plan, index)

    def _clean(self, message: CleanOutput) -> None:
        problem = ""
        try:
            remove_attempts(message.output, message.job)
        except (MapReduceError, OSError) as error:
            problem = f"the unfinished output of job {message.job} below {message.output} stays: {error}"
        self._link.send(OutputCleaned(message.job, problem))


class Reporter:
    """Reports the progress of one attempt, at most every PROGRESS_S."""

    def __init__(self, link: TaskLink, marks: MarkWriter, tell_held: Callable[[], None]) -> None:
        """`tell_held` tells of the attempts before, which goes first: a report is of the one that is not told."""
        self._link = link
        self._marks = marks
        self._tell_held = tell_held
        self._next_s = time.monotonic() + PROGRESS_S  # what is over before that needs no report

    def start(self, path: str, offset: int) -> None:
        """Note where the attempt begins, in case it dies before its first report."""
        self._marks.begin_at(path, offset)

    def report(self, setup: TaskSetup, records: int, size: int) -> None:
        """Say how far the attempt is, if it is time."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PROGRESS_S
        path, offset = setup.place() or (None, None)
        self._marks.begun()
        self._tell_held()
        self._link.send(Doing(records, size, path, offset))


def _judge(error: BaseException, setup: TaskSetup) -> Failure:
    """Describe what an attempt raised; where a user's exception cannot even be shown, what its `__str__` raised."""
    try:
        return failure_of(error, setup)
    except BaseException as second:  # noqa: BLE001 - of the user's code as well, and described in its place
        return failure_of(second, setup)


def _has_printed() -> bool:
    """Whether something lies in the log pipe; also where user code has put something else into its place."""
    try:
        return any(any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4))) for fd in (1, 2))
    except OSError:
        return True


def _flush() -> None:
    """Let all that was printed be in the pipe before the outcome is told."""
    for stream in (sys.stdout, sys.stderr):
        # User code may have put another stream there, or closed it: its text is its own loss.
        with contextlib.suppress(ValueError, OSError, AttributeError):
            stream.flush()
