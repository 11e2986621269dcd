"""The agent's pure machine runs attempts, tells of them, and ends jobs; no process, socket or clock."""

from dataclasses import replace

from agent_outcomes import BROKEN, DONE, attempt

from mapreduce.config import LOG_BYTES_PER_ATTEMPT
from mapreduce.plan import Done, Failure, FailureKind, TaskKind
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    CancelAttempt,
    Dropped,
    ForgetJob,
    GetBlob,
    Granted,
    LogLines,
    PrepareJob,
    Progress,
    Results,
    RunAttempt,
    Source,
)
from workers.agent_events import (
    DeleteAttempt,
    DeleteJob,
    KillProcess,
    OutputLeft,
    ProcessEnded,
    ProcessPrinted,
    ProcessSaid,
    StartProcess,
    Tell,
)
from workers.task_messages import (
    AddSources,
    CleanOutput,
    Doing,
    OutputCleaned,
    Run,
    TaskDone,
    TaskFailed,
)


def test_attempt_from_run_to_grant_to_drop(ready):
    """A done attempt is reported, kept when granted, and deleted when dropped; its process runs the next."""
    process = ready.run(attempt(0))
    ready.do(ProcessSaid(process, TaskDone(attempt(0), DONE)))
    assert ready.messages() == [AttemptDone(attempt(0), DONE)]
    assert ready.of(KillProcess) == []
    ready.tell(Granted(attempt(0)))
    assert ready.effects == []
    assert ready.run(attempt(1)) == process
    ready.tell(Dropped(attempt(0)))
    assert ready.effects == [DeleteAttempt(attempt(0), "/out")]


def test_a_failed_attempt_costs_its_process(ready):
    """After a user's exception the process is killed, another is started, and the attempt's files go after its end."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, TaskFailed(attempt(), BROKEN)))
    assert ready.messages() == [AttemptFailed(attempt(), replace(BROKEN, worker="name", task="map 0"))]
    assert ready.of(KillProcess) == [KillProcess(process)]
    assert len(ready.of(StartProcess)) == 1
    assert ready.run(attempt(0, 2)) != process
    ready.do(ProcessEnded(process, "signal SIGKILL"))
    assert ready.effects == [DeleteAttempt(attempt(), "/out")]


def test_death_of_a_process_is_reported(ready):
    """A dead process's attempt fails as DIED: how it died, where it was in the input, its last lines."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, Doing(10, 500, "/in/a.txt", 480)))
    ready.do(ProcessPrinted(process, "".join(f"line {i}\n" for i in range(30)) + "last"))
    ready.do(ProcessEnded(process, "signal SIGSEGV"))
    (failed,) = ready.messages(AttemptFailed)
    assert failed.failure.kind is FailureKind.DIED
    assert "signal SIGSEGV" in failed.failure.message
    assert (failed.failure.path, failed.failure.offset) == ("/in/a.txt", 480)
    assert failed.failure.stderr.split("\n")[-2:] == ["line 29", "last"]
    assert len(failed.failure.stderr.split("\n")) <= 21
    assert len(ready.messages(LogLines)) == 1
    assert len(ready.of(StartProcess)) == 1


def test_cancelled_attempt(ready):
    """A cancelled attempt's process is killed; once it is dead its files go, and the coordinator hears of it."""
    process = ready.run(attempt())
    ready.tell(CancelAttempt(attempt()))
    assert ready.of(KillProcess) == [KillProcess(process)]
    assert ready.messages() == []
    ready.do(ProcessSaid(process, TaskDone(attempt(), DONE)))
    assert ready.messages() == []
    ready.do(ProcessEnded(process, "signal SIGKILL"))
    assert [message.attempt for message in ready.messages(AttemptFailed)] == [attempt()]
    assert ready.of(DeleteAttempt) == [DeleteAttempt(attempt(), "/out")]


def test_attempt_of_a_job_that_is_not_ready(joined):
    """An attempt of an unknown job fails as lost, so that it is tried elsewhere."""
    joined.tell(RunAttempt(attempt()))
    (failed,) = joined.messages(AttemptFailed)
    assert failed.failure.kind is FailureKind.LOST


def test_sources_are_told_once_and_before_the_attempt(ready):
    """A process hears the sources that it does not know yet, then the attempt: what came later is not for it."""
    reduce = attempt(0, 1, TaskKind.REDUCE)
    sources = tuple(Source(attempt(i), "w1", "", "", DONE) for i in range(3))
    ready.tell(Results("job-1", 0, True, sources))
    process = ready.run(reduce)
    told = [tell.message for tell in ready.of(Tell)]
    assert [type(message) for message in told] == [AddSources, Run]
    assert len(told[0].packed) == 3
    ready.do(ProcessSaid(process, TaskDone(reduce, DONE)))
    newer = Source(attempt(1, 7), "w2", "", "", DONE)
    ready.tell(Results("job-1", 0, True, (sources[0], newer)))
    assert ready.run(attempt(1, 1, TaskKind.REDUCE)) == process
    told = [tell.message for tell in ready.of(Tell)]
    assert len(told[0].packed) == 1, "a source told again is no news"


def test_a_map_task_of_the_first_step_is_told_of_no_results(ready):
    """It reads none but those of other jobs; who needs them later in its process hears of all of them."""
    ready.tell(Results("job-1", 0, True, (Source(attempt(0), "w1", "", "", DONE),)))
    process = ready.run(attempt(1))
    assert [type(tell.message) for tell in ready.of(Tell)] == [Run]
    ready.do(ProcessSaid(process, TaskDone(attempt(1), DONE)))
    assert ready.run(attempt(0, 1, TaskKind.REDUCE)) == process
    assert [type(tell.message) for tell in ready.of(Tell)] == [AddSources, Run]


def test_a_map_task_hears_of_kept_results(ready):
    """Results of other jobs, which are those of steps below the first, are told to map tasks as well."""
    ready.tell(Results("job-1", -1, False, (Source(attempt(0), "w1", "", "", DONE),)))
    ready.run(attempt(1))
    assert [type(tell.message) for tell in ready.of(Tell)] == [AddSources, Run]


def test_processes_serve_one_job(ready):
    """Another job never runs in a process that has served one; idle ones beyond slots and a spare are killed."""
    ready.ready("job-2")
    first = ready.run(attempt(0, job="job-2"))
    second = ready.run(attempt(1, job="job-2"))
    for number, process in enumerate((first, second)):
        ready.do(ProcessSaid(process, TaskDone(attempt(number, job="job-2"), DONE)))
    assert ready.run(attempt(0)) not in {first, second}
    assert ready.run(attempt(1)) not in {first, second}
    assert ready.of(KillProcess) == [KillProcess(first)]


def test_progress_and_logs_are_sent_now_and_then(ready):
    """Progress and output of running attempts go out at ticks, output at the latest before the outcome."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, Doing(10, 500, "/in", 480)))
    ready.do(ProcessPrinted(process, "hello\n"))
    assert ready.messages() == []
    ready.after(0.5)
    assert ready.messages(Progress) == [Progress(((attempt(), 10, 500),))]
    assert ready.messages(LogLines) == [LogLines(attempt(), "hello\n")]
    ready.after(0.5)
    assert ready.messages(Progress) == []
    ready.do(ProcessPrinted(process, "bye\n"))
    ready.do(ProcessSaid(process, TaskDone(attempt(), DONE)))
    assert [type(message) for message in ready.messages()] == [LogLines, AttemptDone]


def test_chatty_attempts_are_cut(ready):
    """No more than LOG_BYTES_PER_ATTEMPT of an attempt's output is sent, and a note says that there was more."""
    process = ready.run(attempt())
    sent = ""
    for _ in range(40):
        ready.do(ProcessPrinted(process, "é" * 2000))
        ready.after(0.5)
        sent += "".join(message.text for message in ready.messages(LogLines))
    assert "more output left out" in sent
    assert LOG_BYTES_PER_ATTEMPT <= len(sent.encode()) <= LOG_BYTES_PER_ATTEMPT + 100


def test_an_outcome_too_large_for_a_frame_is_a_failure(ready):
    """An outcome that no frame can hold becomes a failure that says so, and uses no message number."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, TaskDone(attempt(), Done(digests=b"x" * 300_000))))
    (failed,) = ready.messages()
    assert failed.failure.kind is FailureKind.FATAL
    ready.run(attempt(1))
    ready.do(ProcessSaid(ready.run(attempt(2)), TaskDone(attempt(2), DONE)))
    assert ready.numbers() == [4]


def test_texts_of_failures_fit_frames(ready):
    """Endless tracebacks with lone surrogates are cut at their front and escaped."""
    process = ready.run(attempt())
    failure = Failure(FailureKind.USER, "m" * 100_000, traceback="\ud800" + "t" * 100_000 + "end", record="r" * 9999)
    ready.do(ProcessSaid(process, TaskFailed(attempt(), failure)))
    (failed,) = ready.messages()
    assert failed.failure.traceback.endswith("end")


def test_forgotten_job_is_deleted_when_nothing_of_it_runs(ready):
    """ForgetJob kills the job's processes; its folder and unfinished output go when the last is dead."""
    process = ready.run(attempt())
    ready.tell(ForgetJob("job-1", "/out"))
    killed = {effect.process for effect in ready.of(KillProcess)}
    assert process in killed
    assert len(killed) == 2
    assert ready.of(DeleteJob) == []
    for number in sorted(killed):
        ready.do(ProcessEnded(number, "signal SIGKILL"))
    assert ready.of(DeleteJob) == [DeleteJob("job-1", "/out")]
    ready.do(OutputLeft("job-1", "/out"))
    (tell,) = ready.of(Tell)
    assert tell.message == CleanOutput("job-1", "/out")
    ready.do(ProcessSaid(tell.process, OutputCleaned("job-1")))
    assert ready.of(KillProcess) == [KillProcess(tell.process)]


def test_job_that_comes_back_while_it_ends(ready):
    """A job that is to be prepared while its processes still die is prepared after that."""
    ready.tell(ForgetJob("job-1"))
    killed = [effect.process for effect in ready.of(KillProcess)]
    ready.tell(PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    assert ready.effects == []
    for number in killed:
        ready.do(ProcessEnded(number, "signal SIGKILL"))
    assert ready.of(DeleteJob) == [DeleteJob("job-1", "")]
    ready.after(0.25)
    assert ready.messages(GetBlob)


def test_idle_processes_that_die_are_replaced_at_ticks(joined):
    """A process that dies before it was used is replaced at the next tick, never in a hot loop."""
    joined.do(ProcessEnded(1, "exit code 1"))
    assert joined.of(StartProcess) == []
    joined.after(0.25)
    assert joined.of(StartProcess) == [StartProcess(3)]
