"""The client's conversations: what is said, said again, and when they end."""

from __future__ import annotations

import hashlib

import pytest

from mapreduce.client_events import (
    Answered,
    CancelWanted,
    Ended,
    NewLogs,
    NewStatus,
    Notice,
    Received,
    Refused,
    Send,
    Submitted,
    Tick,
    Unreachable,
)
from mapreduce.client_state import LOGS_PATIENCE_S, JobConversation, Phase, Question
from mapreduce.config import BLOB_PIECE_BYTES, CLIENT_CONNECT_S, CLIENT_SILENCE_S, WATCH_RENEW_S
from mapreduce.plan import AttemptId, JobSpec, StepShape, TaskId, TaskKind
from mapreduce.protocol.messages import (
    Accepted,
    BlobData,
    BlobStored,
    Cancel,
    GetLogs,
    Jobs,
    JobStatus,
    ListJobs,
    LogEntry,
    Logs,
    NeedBlobs,
    Rejected,
    Submit,
    Watch,
)

JOB = "wc-1"
ADDRESS = "tcp://127.0.0.1:5555"
CODE = bytes(range(256)) * (BLOB_PIECE_BYTES // 100)  # two pieces and a bit
PLAN = b"plan"
BLOBS = {hashlib.sha256(blob).hexdigest(): blob for blob in (CODE, PLAN)}
CODE_ID, PLAN_ID = BLOBS
SPEC = JobSpec(JOB, "wc", (StepShape(1, 1),), CODE_ID, PLAN_ID, PLAN_ID, PLAN_ID, "/out", 10)


def conversation(**options):
    return JobConversation(ADDRESS, JOB, 0.0, **{"spec": SPEC, "blobs": BLOBS, **options})


def sends(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


def sent_number(effects):
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    return send.number


def status(state="running", **fields):
    return JobStatus(JOB, "wc", state, **fields)


def entry(text):
    return LogEntry(AttemptId(TaskId(JOB, 0, TaskKind.MAP, 0), 1), text)


def watching():
    talk = conversation(spec=None)
    talk.handle(Tick(), 0.0)
    return talk


def test_a_job_is_submitted_watched_and_ends():
    """Submit, Accepted, Watch, statuses, end: the plain course of things."""
    talk = conversation()
    first = talk.handle(Tick(), 0.0)
    assert sends(first) == [Submit(SPEC)]
    accepted = talk.handle(Received(sent_number(first), Accepted(JOB)), 0.01)
    assert accepted[0] == Submitted(JOB)
    assert sends(accepted) == [Watch(JOB, 0)]
    assert talk.handle(Received(9, status()), 0.02) == [NewStatus(status())]
    assert talk.handle(Received(9, status("done")), 0.03) == [NewStatus(status("done")), Ended(status("done"))]
    assert talk.is_over
    assert talk.handle(Tick(), 99.0) == []


def test_a_detached_submit_ends_when_it_is_accepted():
    """Without watching, the conversation is over once the coordinator has the job."""
    talk = conversation(watch=False)
    number = sent_number(talk.handle(Tick(), 0.0))
    assert talk.handle(Received(number, Accepted(JOB)), 0.01) == [Submitted(JOB)]
    assert talk.is_over


def test_missing_blobs_are_sent_in_pieces_each_after_the_last_was_stored():
    """The pieces together are the blob, one under way at a time; then the job is submitted again."""
    talk = conversation()
    got = dict.fromkeys(BLOBS, b"")
    effects = talk.handle(Received(sent_number(talk.handle(Tick(), 0.0)), NeedBlobs((CODE_ID, PLAN_ID))), 0.1)
    while isinstance(piece := sends(effects)[0], BlobData):
        assert len(sends(effects)) == 1
        assert piece.offset == len(got[piece.sha256])
        assert len(piece.data) <= BLOB_PIECE_BYTES
        got[piece.sha256] += piece.data
        effects = talk.handle(Received(sent_number(effects), BlobStored(piece.sha256, len(got[piece.sha256]))), 0.1)
    assert got == BLOBS
    assert sends(effects) == [Submit(SPEC)]


def test_an_upload_goes_on_where_the_coordinator_stands():
    """A coordinator that restarted and lost a half blob says so, and gets it from there."""
    talk = conversation()
    effects = talk.handle(Received(sent_number(talk.handle(Tick(), 0.0)), NeedBlobs((CODE_ID,))), 0.1)
    effects = talk.handle(Received(sent_number(effects), BlobStored(CODE_ID, BLOB_PIECE_BYTES)), 0.1)
    effects = talk.handle(Received(sent_number(effects), BlobStored(CODE_ID, 0)), 0.1)
    (piece,) = sends(effects)
    assert piece.offset == 0


def test_a_repeated_piece_does_not_double_the_upload():
    """The answers to both copies of a piece bring one next piece."""
    talk = conversation()
    first = talk.handle(Received(sent_number(talk.handle(Tick(), 0.0)), NeedBlobs((CODE_ID,))), 0.0)
    again = talk.handle(Tick(), 1.5)
    assert sends(again) == sends(first)
    assert sent_number(again) == sent_number(first)
    stored = Received(sent_number(first), BlobStored(CODE_ID, BLOB_PIECE_BYTES))
    assert len(sends(talk.handle(stored, 1.6))) == 1
    assert talk.handle(stored, 1.6) == []


def test_a_blob_that_is_not_ours_ends_the_conversation():
    """A coordinator that asks for something else has mixed up jobs; going on would never end."""
    talk = conversation()
    number = sent_number(talk.handle(Tick(), 0.0))
    (effect,) = talk.handle(Received(number, NeedBlobs(("ab" * 32,))), 0.1)
    assert isinstance(effect, Refused)
    assert "abab" in effect.reason


def test_a_request_is_repeated_ever_more_slowly():
    """Retries come after 1, 2, 4, 4... seconds, under the same number."""
    talk = conversation()
    talk.handle(Received(0, Jobs(())), 0.0)  # somebody is there
    times = [tenth / 10 for tenth in range(1, 150) if talk.handle(Tick(), tenth / 10)]
    assert times == pytest.approx([1.0, 3.0, 7.0, 11.0], abs=0.11)


def test_a_first_contact_without_an_answer_is_given_up():
    """Nobody has ever answered: after CLIENT_CONNECT_S that is the result."""
    talk = conversation()
    talk.handle(Tick(), 0.0)
    assert Unreachable() not in talk.handle(Tick(), CLIENT_CONNECT_S - 0.01)
    assert talk.handle(Tick(), CLIENT_CONNECT_S) == [Unreachable()]


def test_silence_is_told_and_so_is_its_end():
    """A coordinator that was heard and falls silent is mentioned after CLIENT_SILENCE_S, and tried on."""
    talk = watching()
    talk.handle(Received(1, status()), 1.0)
    quiet = [effect for second in range(2, 16) for effect in talk.handle(Tick(), float(second))]
    assert not [effect for effect in quiet if isinstance(effect, Notice)]
    assert Watch(JOB, 0) in sends(quiet)
    later = [effect for second in range(16, 40) for effect in talk.handle(Tick(), float(second))]
    (notice,) = [effect for effect in later if isinstance(effect, Notice)]
    assert ADDRESS in notice.text
    assert f"{CLIENT_SILENCE_S:.0f} s" in notice.text
    assert Watch(JOB, 0) in sends(later)
    back = talk.handle(Received(1, status()), 41.0)
    assert back[0] == Notice(f"the coordinator at {ADDRESS} answers again")


def test_a_watch_is_renewed_with_the_logs_that_we_have():
    """The interest is renewed every WATCH_RENEW_S; before the first status it is repeated sooner."""
    talk = conversation(spec=None)
    assert sends(talk.handle(Tick(), 0.0)) == [Watch(JOB, 0)]
    assert sends(talk.handle(Tick(), 1.0)) == [Watch(JOB, 0)]
    talk.handle(Received(1, status()), 1.1)
    assert sends(talk.handle(Tick(), 2.0)) == [Watch(JOB, 0)]
    assert sends(talk.handle(Tick(), 2.0 + WATCH_RENEW_S - 0.1)) == []
    assert sends(talk.handle(Tick(), 2.0 + WATCH_RENEW_S)) == [Watch(JOB, 0)]


def test_logs_are_fetched_in_pages_before_the_job_counts_as_ended():
    """What tasks printed arrives whole and in order, the end comes after it."""
    talk = watching()
    asked = talk.handle(Received(1, status("done", log_entries=3)), 0.1)
    assert sends(asked) == [GetLogs(JOB, 0)]
    page = Logs(JOB, 0, 3, (entry("a"), entry("b")))
    effects = talk.handle(Received(sent_number(asked), page), 0.2)
    assert effects[0] == NewLogs((entry("a"), entry("b")))
    assert sends(effects) == [GetLogs(JOB, 2)]
    effects = talk.handle(Received(sent_number(effects), Logs(JOB, 2, 3, (entry("c"),))), 0.3)
    assert effects == [NewLogs((entry("c"),)), Ended(status("done", log_entries=3))]


def test_an_empty_page_of_logs_does_not_make_the_client_ask_for_ever():
    """A coordinator that has fewer entries than it said ends the asking."""
    talk = watching()
    asked = talk.handle(Received(1, status(log_entries=3)), 0.1)
    assert talk.handle(Received(sent_number(asked), Logs(JOB, 0, 0, ())), 0.2) == []


def test_an_ended_job_waits_only_a_moment_for_its_last_logs():
    """A result is not held up by log lines that do not come."""
    talk = watching()
    talk.handle(Received(1, status("done", log_entries=1)), 1.0)
    assert talk.phase is Phase.LAST_LOGS
    effects = talk.handle(Tick(), 1.0 + LOGS_PATIENCE_S)
    assert effects[-1] == Ended(status("done", log_entries=1))
    assert isinstance(effects[-2], Notice)


def test_logs_that_nobody_wants_are_not_fetched():
    """`wait()` without output asks for statuses alone."""
    talk = conversation(spec=None, logs=False)
    talk.handle(Tick(), 0.0)
    assert talk.handle(Received(1, status("done", log_entries=9)), 0.1)[-1] == Ended(status("done", log_entries=9))


def test_a_cancel_is_repeated_until_it_is_answered():
    """The wish to stop is said until the coordinator has it; the job's end then comes as a status."""
    talk = watching()
    talk.handle(Received(1, status()), 0.5)
    asked = talk.handle(CancelWanted(), 0.9)
    assert sends(asked) == [Cancel(JOB)]
    assert talk.handle(CancelWanted(), 0.95) == []
    assert Cancel(JOB) in sends(talk.handle(Tick(), 2.0))
    talk.handle(Received(sent_number(asked), Accepted(JOB)), 2.1)
    assert Cancel(JOB) not in sends(talk.handle(Tick(), 10.0))
    assert talk.handle(Received(1, status("cancelled")), 10.1)[-1] == Ended(status("cancelled"))


def test_a_cancel_waits_for_the_submission():
    """A job that is not handed over yet would be unknown, and run on: it is cancelled as soon as it is accepted."""
    talk = conversation()
    number = sent_number(talk.handle(Tick(), 0.0))
    assert sends(talk.handle(CancelWanted(), 0.1)) == []
    assert Cancel(JOB) not in sends(talk.handle(Tick(), 3.0))
    accepted = talk.handle(Received(number, Accepted(JOB)), 3.1)
    assert sends(accepted) == [Cancel(JOB), Watch(JOB, 0)]


def test_late_answers_about_the_job_before_are_ignored():
    """On a connection that is used again, the numbers of answers are not enough to tell whom they are for."""
    talk = conversation()
    number = sent_number(talk.handle(Tick(), 0.0))
    assert talk.handle(Received(number, Accepted("wc-0")), 0.1) == []
    talk.handle(Received(number, Accepted(JOB)), 0.2)
    effects = talk.handle(Received(2, status(log_entries=1)), 0.3)
    asked = sent_number(effects)
    assert sends(effects) == [GetLogs(JOB, 0)]
    assert talk.handle(Received(asked, Logs("wc-0", 0, 1, (entry("old"),))), 0.4) == []
    assert talk.handle(Received(asked, Logs(JOB, 0, 1, (entry("new"),))), 0.5) == [NewLogs((entry("new"),))]


def test_a_refused_job_ends_with_the_coordinators_reason():
    """A refusal of the submission or of the watch is the end; one of a stranger's number is not."""
    talk = conversation()
    number = sent_number(talk.handle(Tick(), 0.0))
    assert talk.handle(Received(number + 7, Rejected("not about this")), 0.1) == []
    assert talk.handle(Received(number, Rejected("the output is taken")), 0.1) == [Refused("the output is taken")]
    talk = conversation(spec=None)
    (watch,) = talk.handle(Tick(), 0.0)
    assert talk.handle(Received(watch.number, Rejected("no such job")), 0.1) == [Refused("no such job")]


def test_statuses_of_other_jobs_are_ignored():
    """A stray push about another job changes nothing."""
    talk = watching()
    assert talk.handle(Received(1, JobStatus("other", "x", "failed")), 0.1) == []


def test_a_question_takes_the_answer_to_its_own_number():
    """One request, one answer; late answers to others pass by."""
    question = Question(ADDRESS, ListJobs(), 5, 0.0)
    assert question.handle(Tick(), 0.0) == [Send(5, ListJobs())]
    assert question.handle(Received(4, Jobs(())), 0.1) == []
    assert question.handle(Received(5, Jobs(())), 0.2) == [Answered(Jobs(()))]
    assert question.handle(Received(5, Jobs(())), 0.3) == []


def test_a_question_is_repeated_refused_or_given_up():
    """The same patience as for jobs."""
    question = Question(ADDRESS, ListJobs(), 1, 0.0)
    question.handle(Tick(), 0.0)
    assert question.handle(Tick(), 1.0) == [Send(1, ListJobs())]
    assert question.handle(Received(1, Rejected("no")), 1.1) == [Refused("no")]
    question = Question(ADDRESS, ListJobs(), 1, 0.0)
    assert question.handle(Tick(), CLIENT_CONNECT_S) == [Unreachable()]
