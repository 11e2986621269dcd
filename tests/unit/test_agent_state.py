"""The agent's pure machine, told events and asked for effects; no process, socket or clock."""

from dataclasses import replace

import pytest
from agent_driver import REGISTER, Driver

from mapreduce.config import DIED_ATTEMPTS, HEARTBEAT_S, LOG_BYTES_PER_ATTEMPT, REGISTER_RETRY_S
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, TaskId, TaskKind
from mapreduce.protocol import wire
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    BlobData,
    CancelAttempt,
    Dropped,
    ForgetJob,
    GetBlob,
    Granted,
    Heartbeat,
    Inventory,
    Leave,
    LogLines,
    NoBlob,
    Prepared,
    PrepareJob,
    Progress,
    Refused,
    Register,
    Results,
    RunAttempt,
    SessionEnded,
    Source,
    Welcome,
)
from workers.agent_events import (
    BlobBroken,
    BlobStored,
    DeleteAttempt,
    DeleteJob,
    Exit,
    KillProcess,
    LineBlocked,
    LineOpen,
    OutputLeft,
    ProcessEnded,
    ProcessPrinted,
    ProcessSaid,
    Received,
    StartProcess,
    StopAsked,
    StorePiece,
    Tell,
    Tick,
)
from workers.task_messages import (
    AddSources,
    CleanOutput,
    Doing,
    JobProbed,
    LoadJob,
    OutputCleaned,
    ProbeJob,
    Run,
    TaskDone,
    TaskFailed,
)

DONE = Done(records_in=3, runs=1)
BROKEN = Failure(FailureKind.USER, "ValueError: no")


def attempt(index=0, number=1, kind=TaskKind.MAP, job="job-1"):
    return AttemptId(TaskId(job, 0, kind, index), number)


@pytest.fixture
def driver():
    """An agent without a session."""
    return Driver()


@pytest.fixture
def joined(driver):
    """An agent with a session."""
    driver.do(Tick())
    driver.welcome()
    return driver


@pytest.fixture
def ready(joined):
    """An agent that is ready for job-1."""
    joined.ready()
    return joined


# ------------------------------------------------------------------------------------------------ the session


def test_registers_until_welcomed(driver):
    """An agent asks for a session at once, and again every REGISTER_RETRY_S, until it has one."""
    assert [effect.process for effect in driver.effects] == [1, 2]
    driver.do(Tick())
    assert driver.messages() == [REGISTER]
    driver.after(REGISTER_RETRY_S / 2)
    assert driver.messages() == []
    driver.after(REGISTER_RETRY_S)
    assert driver.messages() == [REGISTER]
    driver.welcome()
    assert driver.messages() == [Inventory()]
    assert driver.numbers() == [1]
    driver.after(REGISTER_RETRY_S)
    assert driver.messages(Register) == []


def test_refused_agent_stops(driver):
    """A refused agent stops with exit code 2 and the coordinator's reason."""
    driver.do(Tick())
    driver.tell_raw(0, Refused("versions differ"), session="")
    assert driver.effects == [Exit(2, "versions differ")]


def test_heartbeats_tell_both_counts(joined):
    """Heartbeats come every heartbeat_s, unnumbered, with what was sent and what arrived."""
    joined.ready()
    joined.after(HEARTBEAT_S)
    assert Heartbeat(2, 1) in joined.messages()  # sent: Inventory and Prepared; received: PrepareJob
    assert 0 in joined.numbers()


@pytest.mark.parametrize(
    "message", [(3, ForgetJob("x")), (0, Heartbeat(1, 0)), (0, SessionEnded("lease over"))], ids=["gap", "beat", "end"]
)
def test_broken_session_is_made_anew(joined, message):
    """A gap in the numbers, a heartbeat that tells of more, or the session's end: the agent registers anew."""
    joined.now_s += REGISTER_RETRY_S
    joined.tell_raw(*message)
    assert joined.messages() == [REGISTER]
    joined.welcome("1-2")
    assert joined.messages(Inventory) == [Inventory()]


def test_old_and_repeated_messages_are_ignored(ready):
    """A message of another session, or with a number seen before, changes nothing."""
    ready.tell_raw(1, RunAttempt(attempt()))
    assert ready.effects == []
    ready.tell_raw(2, RunAttempt(attempt()), session="0-9")
    assert ready.effects == []
    ready.tell_raw(1, Welcome(1, 8.0, 1.0))
    assert ready.effects == []


def test_blocked_line(joined):
    """A numbered message that the socket does not take ends the session; a heartbeat does not."""
    joined.do(LineBlocked(numbered=False))
    assert joined.effects == []
    joined.do(LineBlocked(numbered=True))
    joined.do(LineOpen())
    assert joined.messages() == [REGISTER]


def test_leaves_with_a_word(joined):
    """An agent that is asked to stop tells the coordinator so, and exits with 0."""
    joined.do(StopAsked("SIGTERM"))
    assert joined.messages() == [Leave("SIGTERM")]
    assert joined.effects[-1] == Exit(0, "SIGTERM")


def test_new_session_is_told_all_that_is_held(ready):
    """Inventory names running, finished, kept and prepared; outcomes that were not answered are sent again."""
    first = ready.run(attempt(0))
    ready.do(ProcessSaid(first, TaskDone(attempt(0), DONE)))
    ready.tell(Granted(attempt(0)))
    second = ready.run(attempt(1))
    third = ready.run(attempt(2))
    ready.do(ProcessSaid(second, TaskDone(attempt(1), DONE)))
    ready.tell_raw(0, SessionEnded("gone"))
    ready.do(ProcessSaid(third, TaskFailed(attempt(2), BROKEN)))
    assert ready.messages() == []
    ready.welcome("1-2")
    inventory = ready.messages(Inventory)[0]
    assert inventory == Inventory((), (attempt(1), attempt(2)), (attempt(0),), ("job-1",))
    assert ready.messages(AttemptDone) == [AttemptDone(attempt(1), DONE)]
    assert [message.attempt for message in ready.messages(AttemptFailed)] == [attempt(2)]
    assert ready.numbers() == [1, 2, 3]


def test_failures_are_forgotten_once_received(ready):
    """A failure is told again in a new session only while the coordinator has not said that it received it."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, TaskFailed(attempt(), BROKEN)))
    number = ready.numbers()[0]
    ready.tell_raw(0, Heartbeat(ready.sent, number))
    ready.tell_raw(0, SessionEnded("gone"))
    ready.welcome("1-2")
    assert ready.messages(AttemptFailed) == []


def test_long_inventories_come_in_parts(joined):
    """An inventory too long for a frame comes in several messages, of which the last says so."""
    joined.ready()
    held = [attempt(index, 1_000_000_000) for index in range(1000)]
    for which in held:
        process = joined.run(which)
        joined.do(ProcessSaid(process, TaskDone(which, DONE)))
        joined.tell(Granted(which))
    joined.tell_raw(0, SessionEnded("gone"))
    joined.welcome("1-2")
    inventories = joined.messages(Inventory)
    assert [which for inventory in inventories for which in inventory.kept] == held
    assert [inventory.last for inventory in inventories] == [False] * (len(inventories) - 1) + [True]


# ------------------------------------------------------------------------------------------------ preparing


def test_prepare_fetches_stores_loads_probes(joined):
    """A job's blobs are asked for piece by piece and stored; then a process loads it and probes; others load ahead."""
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    assert joined.messages() == [GetBlob(letter * 64, 0) for letter in "cspq"]
    joined.tell_raw(0, BlobData("c" * 64, 0, 5, b"abc"))
    assert joined.of(StorePiece) == [StorePiece("job-1", "code", "c" * 64, 0, 5, b"abc")]
    assert joined.messages() == [GetBlob("c" * 64, 3)]
    joined.tell_raw(0, BlobData("c" * 64, 3, 5, b"de"))
    assert joined.messages() == []
    joined.tell_raw(0, BlobData("p" * 64, 0, 1, b"p"))
    joined.tell_raw(0, BlobData("q" * 64, 0, 0, b""))
    assert joined.of(StorePiece) == [StorePiece("job-1", "probe", "q" * 64, 0, 0, b"")]
    for role, letter in zip(("code", "setup", "plan"), "csp", strict=True):
        joined.do(BlobStored("job-1", role, letter * 64))
    assert joined.effects == []
    joined.do(BlobStored("job-1", "probe", "q" * 64))
    load = LoadJob("job-1", "/scratch/jobs/job-1", "/scratch/shared", "c" * 64)
    assert joined.of(Tell) == [
        Tell(1, load),
        Tell(1, ProbeJob("job-1")),
        Tell(2, load),
    ]
    joined.do(ProcessSaid(1, JobProbed("job-1", "/out")))
    assert joined.messages() == [Prepared("job-1")]
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    assert joined.messages() == [Prepared("job-1")]


def test_lost_pieces_are_asked_for_again(joined):
    """A piece that does not come within two seconds is asked for again; one that comes twice is stored once."""
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    joined.tell_raw(0, BlobData("p" * 64, 0, 1, b"p"))
    joined.tell_raw(0, BlobData("p" * 64, 0, 1, b"p"))
    assert joined.of(StorePiece) == []
    joined.after(2.0)
    assert joined.messages(GetBlob) == [GetBlob(letter * 64, 0) for letter in "csq"]


@pytest.mark.parametrize(
    ("happening", "kind", "words"),
    [
        (lambda d: d.tell_raw(0, NoBlob("c" * 64)), FailureKind.FATAL, "does not have the job's code"),
        (lambda d: d.tell_raw(0, BlobData("c" * 64, 0, 1 << 40, b"a")), FailureKind.FATAL, "the limit is"),
        (lambda d: d.do(BlobBroken("job-1", "plan", "full", disk=True)), FailureKind.DISK, "plan could not be stored"),
    ],
    ids=["none", "large", "disk"],
)
def test_blobs_that_cannot_be_had(joined, happening, kind, words):
    """A blob that is gone, too large, or cannot be stored is a problem that names it and the worker."""
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    happening(joined)
    (prepared,) = joined.messages(Prepared)
    assert prepared.problem.kind is kind
    assert words in prepared.problem.message
    assert prepared.problem.worker == "name"


def test_a_job_id_cannot_name_another_folder(joined):
    """A job whose id would be a path elsewhere is refused, and nothing is stored."""
    joined.tell(PrepareJob("../evil", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64))
    (prepared,) = joined.messages()
    assert "names a folder" in prepared.problem.message
    joined.tell(ForgetJob("../evil", "/out"))
    assert joined.of(DeleteJob) == []


def test_death_while_loading(joined):
    """A process that dies while it loads the job is replaced, DIED_ATTEMPTS times in all; then the job is refused."""
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "c" * 64, "c" * 64, "c" * 64))
    joined.tell_raw(0, BlobData("c" * 64, 0, 1, b"c"))
    for role in ("code", "setup", "plan", "probe"):
        joined.do(BlobStored("job-1", role, "c" * 64))
    for death in range(1, DIED_ATTEMPTS + 1):
        (probing,) = [tell.process for tell in joined.of(Tell) if isinstance(tell.message, ProbeJob)]
        joined.do(ProcessPrinted(probing, f"about to die: {death}\n"))
        assert joined.messages(Prepared) == []
        joined.do(ProcessEnded(probing, "exit code 3"))
    (prepared,) = joined.messages(Prepared)
    assert "exit code 3" in prepared.problem.message
    assert prepared.problem.stderr == f"about to die: {DIED_ATTEMPTS}"
    assert len(joined.of(StartProcess)) == 1


def test_death_of_one_probe_does_not_refuse_the_job(joined):
    """One process that was killed while it probed a job says nothing of the job: another makes it ready."""
    joined.tell(PrepareJob("job-1", "words", "c" * 64, "c" * 64, "c" * 64, "c" * 64))
    joined.tell_raw(0, BlobData("c" * 64, 0, 1, b"c"))
    for role in ("code", "setup", "plan", "probe"):
        joined.do(BlobStored("job-1", role, "c" * 64))
    joined.do(ProcessEnded(1, "signal SIGKILL"))
    (probing,) = [tell.process for tell in joined.of(Tell) if isinstance(tell.message, ProbeJob)]
    joined.do(ProcessSaid(probing, JobProbed("job-1", "/out")))
    assert joined.messages(Prepared) == [Prepared("job-1")]


def test_a_welcome_for_another_life_is_ignored(driver):
    """A Welcome names the worker that it is for: a forerunner's opens no session."""
    driver.do(Tick())
    driver.do(Received(wire.Envelope("1-9", 0, Welcome(1, 8.0, HEARTBEAT_S, "its forerunner"))))
    assert driver.effects == []
    driver.do(Received(wire.Envelope("1-10", 0, Welcome(1, 8.0, HEARTBEAT_S, REGISTER.worker))))
    assert driver.messages() == [Inventory()]


# ------------------------------------------------------------------------------------------------ attempts


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


def test_processes_serve_one_job(ready):
    """Another job never runs in a process that has served one; idle ones beyond slots and a spare are killed."""
    ready.ready("job-2")
    first = ready.run(attempt(0, job="job-2"))
    second = ready.run(attempt(1, job="job-2"))
    served = {ready.run(attempt(0)), ready.run(attempt(1))}
    assert not served & {first, second}
    ready.do(ProcessSaid(first, TaskDone(attempt(0, job="job-2"), DONE)))
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


# ------------------------------------------------------------------------------------------------ jobs' ends


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
