"""The agent's pure machine makes a job ready: its blobs, the processes that load it, and what goes wrong with them."""

import pytest

from mapreduce.config import DIED_ATTEMPTS
from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import (
    BlobData,
    ForgetJob,
    GetBlob,
    NoBlob,
    Prepared,
    PrepareJob,
)
from workers.agent_events import (
    BlobBroken,
    BlobStored,
    DeleteJob,
    ProcessEnded,
    ProcessPrinted,
    ProcessSaid,
    StartProcess,
    StorePiece,
    Tell,
)
from workers.task_messages import JobProbed, LoadJob, ProbeJob


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
