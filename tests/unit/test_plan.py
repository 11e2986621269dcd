"""The shared nouns: names made of integers, and failures as a person reads them."""

import time

import pytest

from mapreduce.config import CONTROL_FRAME_BYTES, FAILURE_TEXT_CHARS
from mapreduce.file_names import attempt_output_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, Failure, FailureKind, Piece, Split, StepShape, TaskId, TaskKind

MAP = AttemptId(TaskId("job", 0, TaskKind.MAP, 3), 7)
REDUCE = AttemptId(TaskId("job", 1, TaskKind.REDUCE, 2), 9)


def test_files_of_different_attempts_have_different_names():
    """No two attempts, spills or kinds share a file name, so a late writer never touches a current file."""
    names = [
        *(run_file_name(MAP, spill) for spill in range(3)),
        part_file_name(MAP),
        part_file_name(REDUCE),
        attempt_output_name(MAP),
        attempt_output_name(REDUCE),
        run_file_name(AttemptId(MAP.task, 8), 0),
    ]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") for name in names)


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (MAP, "map 3 (attempt 7)"),
        (REDUCE, "reduce 2 of step 2 (attempt 9)"),
        (AttemptId(TaskId("job", 0, TaskKind.COMMIT, 0), 1), "the job commit (attempt 1)"),
    ],
)
def test_an_attempt_reads_well(attempt, text):
    """An attempt is named as people speak: the step only where there are several."""
    assert str(attempt) == text


def test_a_failure_shows_the_users_traceback_first():
    """The story of a failure begins with the user's own lines, and leaves out what is not known."""
    text = Failure(
        FailureKind.USER,
        "ValueError: no",
        traceback='Traceback (most recent call last):\n  File "job.py", line 3\nValueError: no\n',
        function="mapper",
        path="/data/a.txt",
        offset=17,
        record="'x'",
    ).describe()
    assert text.startswith("Traceback")
    assert "input: /data/a.txt, byte 17" in text
    assert "key:" not in text
    assert text.count("ValueError: no") == 1
    assert len(text) < CONTROL_FRAME_BYTES


def test_what_a_traceback_does_not_say_follows_it():
    """A message that is not the end of the traceback stands below it, by itself."""
    text = Failure(
        FailureKind.USER, "the mapper emitted a set", traceback="Traceback: x\n", function="mapper"
    ).describe()
    assert text == "Traceback: x\n\nthe mapper emitted a set\n  function: mapper"


def test_a_message_of_several_lines_stands_once():
    """Of an exception whose text has several lines the first is the message, which the traceback says already."""
    text = Failure(
        FailureKind.USER, "UserError: first", traceback="Traceback:\n  x\njob.UserError: first\nsecond\n"
    ).describe()
    assert text == "Traceback:\n  x\njob.UserError: first\nsecond"


def test_how_often_a_task_was_tried_is_told_with_the_task():
    """The number of attempts is a fact of its own, so the message stays what the traceback ends with."""
    failure = Failure(FailureKind.USER, "E: no", traceback="Traceback:\n  x\nE: no\n", task="map 3", tries=2)
    assert failure.describe() == "Traceback:\n  x\nE: no\n  task: map 3 (attempt 2 of 2 that failed so)"


SECRET_URL, SHOWN_URL = "s3://me:pass@bucket/logs?part=3&token=abc", "s3://me:***@bucket/logs?part=3&token=***"
TEXTS = ("message", "traceback", "function", "path", "key", "record", "stderr")


@pytest.mark.parametrize("field", TEXTS)
def test_no_text_of_a_failure_has_secrets_of_urls(field):
    """Failures are shown, logged and kept: what a record or a process said of a URL is masked like the path."""
    facts = {"message": "no", field: f"'{SECRET_URL}' is no number"}
    failure = Failure(FailureKind.USER, **facts, notes=(f"as in {SECRET_URL}", "and so on"))
    assert getattr(failure, field) == f"'{SHOWN_URL}' is no number"
    assert failure.notes == (f"as in {SHOWN_URL}", "and so on")


@pytest.mark.parametrize("text", ["?", "?key", "&sig;", "a:", "?key=.", "://"])
def test_masking_takes_no_time_whatever_is_in_a_text(text):
    """A record of thousands of question marks beside a URL, which took half a minute, is as quick as any other."""
    whole = f"x://{text * (FAILURE_TEXT_CHARS // len(text))}"
    started_s = time.process_time()
    Failure(FailureKind.USER, "no", record=whole)
    assert time.process_time() - started_s < 1


def test_shapes_and_splits_add_up():
    """A split's size is that of its pieces; a map-only step has a part a map task."""
    assert Split((Piece("a", 0, 3, 3, 0), Piece("b", 0, 4, 9, 0))).size == 7
    assert StepShape(4, 0).parts == 4
    assert StepShape(4, 2).parts == 2
