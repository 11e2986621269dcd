"""What a person sees of a running job."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from mapreduce import progress
from mapreduce.plan import AttemptId, StepShape, TaskId, TaskKind
from mapreduce.progress import Display, LiveDisplay, Meter, amount, count, display_for, duration, share_done, summary
from mapreduce.protocol.messages import JobStatus, LogEntry, StepStatus

MIB = 1 << 20


def status(**fields):
    given = {
        "job": "wc-1",
        "name": "wc",
        "state": "running",
        "steps": (StepStatus(StepShape(10, 4), maps_done=5),),
        "input_bytes": 100 * MIB,
        "bytes_in": 50 * MIB,
    }
    return JobStatus(**{**given, **fields})


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (3 * MIB, "3.0 MB"), (5 << 40, "5.0 TB")]
)
def test_bytes_are_written_in_units_of_1024(size, text):
    """A size is shown with the largest unit that leaves at least one."""
    assert amount(size) == text


def test_numbers_and_times_are_short():
    """Counts have commas or M and G; times have at most two units."""
    assert [count(n) for n in (12345, 1_230_000, 4.5e9)] == ["12,345", "1.23 M", "4.50 G"]
    assert [duration(s) for s in (0.84, 42, 125, 12_000)] == ["0.8 s", "42 s", "2 min 5 s", "3 h 20 min"]


def test_the_share_done_counts_phases_alike_and_bytes_inside_running_maps():
    """Half of the input read in the first of two phases is a quarter of the job."""
    assert share_done(status(steps=(StepStatus(StepShape(10, 4)),))) == 0.25
    assert share_done(status(steps=(StepStatus(StepShape(2, 4), maps_done=2, reduces_done=2),))) == 0.75
    assert share_done(status(steps=(StepStatus(StepShape(0, 0)),))) == 1.0


def test_a_line_shows_tasks_rate_shuffle_and_time_left():
    """The one line holds everything that a waiting person asks for."""
    meter = Meter(0.0)
    meter.take(status(records_in=0), 1.0)
    meter.take(status(records_in=40_000, shuffle_bytes=2 * MIB), 5.0)
    line = meter.line(10.0)
    assert line == "wc: running 10 s  map 5/10  reduce 0/4  10,000 records/s  2.0 MB shuffled  about 30 s left"


def test_a_line_names_the_first_step_that_is_not_done():
    """In a job of several steps the line is about the one under way."""
    done = StepStatus(StepShape(2, 1), maps_done=2, reduces_done=1)
    meter = Meter(0.0)
    meter.take(status(steps=(done, StepStatus(StepShape(1, 3), maps_done=1, reduces_done=2))), 0.1)
    assert meter.line(0.2).startswith("wc: running 0.2 s, step 2 of 2  map 1/1  reduce 2/3")


def test_the_rate_is_that_of_the_last_seconds():
    """A fast beginning does not colour the rate for ever."""
    meter = Meter(0.0)
    for second in range(20):
        meter.take(status(records_in=1_000_000 + (second if second < 10 else 10 + (second - 10) * 100)), float(second))
    assert meter.records_per_s() == pytest.approx(100)


def test_a_long_record_is_not_told_as_a_rate_of_zero():
    """While no record is done the line shows the time that passes, and no rate."""
    meter = Meter(0.0)
    for second in range(1, 12):
        meter.take(status(bytes_in=0, steps=(StepStatus(StepShape(1, 1), maps_running=1),)), float(second))
    assert meter.line(11.5) == "wc: running 12 s  map 0/1  reduce 0/1  0 B shuffled"


def test_a_client_that_comes_back_counts_from_the_jobs_start():
    """The time passed, and that left, are the job's own and not this client's."""
    meter = Meter(0.0)
    meter.take(status(elapsed_s=60.0), 1.0)
    assert meter.line(1.0).startswith("wc: running 60 s")
    assert meter.left_s(1.0) == pytest.approx(180.0)


def test_no_time_left_is_guessed_from_nothing():
    """There is no guess at the start, nor before anything is done."""
    meter = Meter(0.0)
    meter.take(status(bytes_in=0, steps=(StepStatus(StepShape(10, 4)),)), 1.0)
    assert meter.left_s(1.0) is None
    assert meter.left_s(100.0) is None


def test_the_summary_has_counters_warnings_and_the_output():
    """At the end: time, sizes, counters by name, warnings, the place; control characters of users are harmless."""
    end = status(state="done", counters={"z": 1, "docs": 1234}, warnings=("odd \x1b[31m",), records_out=7)
    lines = summary(end, 0.81, "out/")
    assert lines[0] == "wc: done in 0.8 s  (wc-1)"
    assert "wrote 7" in lines[1]
    assert summary(status(records_in=1), 2.0, "")[0] == "wc: running for 2.0 s  (wc-1)"
    assert "read 1 record (" in summary(status(state="failed", records_in=1), 2.0, "")[1]
    assert lines[2:] == ["  docs = 1,234", "  z = 1", "  warning: odd  [31m", "  output: out/"]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_at_most_every_five_seconds(clock):
    """A job that is over sooner prints nothing of its progress."""
    out = io.StringIO()
    display = display_for(out)
    assert type(display) is Display
    for tenth in range(120):
        clock[0] = tenth / 10
        display.status(status(records_in=tenth))
    assert len(out.getvalue().splitlines()) == 2
    assert "map 5/10" in out.getvalue()


def test_a_wait_is_told_once_when_it_lasts(clock):
    """The line says what the job waits for, after a moment, and not again and again."""
    out = io.StringIO()
    display = Display(out)
    display.status(status(waiting_for="a worker: none has registered"))
    assert out.getvalue() == ""
    for second in range(2, 30):
        clock[0] = float(second)
        display.tick()
    assert out.getvalue() == "wc: waiting for a worker: none has registered\n"


def test_a_live_display_never_tears_what_tasks_print(clock):
    """The redrawn line is wiped before text goes above it, and stays away from an unfinished line."""
    out = io.StringIO()
    display = LiveDisplay(out)
    clock[0] = 1.0
    display.status(status())
    assert out.getvalue().startswith("\r\x1b[Kwc: running")
    out.truncate(0)
    out.seek(0)
    attempt = AttemptId(TaskId("wc-1", 0, TaskKind.MAP, 0), 1)
    display.logs((LogEntry(attempt, "half a "),))
    clock[0] = 2.0
    display.tick()
    display.logs((LogEntry(attempt, "line\n"),))
    assert out.getvalue() == "\r\x1b[Khalf a line\n"
    clock[0] = 3.0
    display.tick()
    display.close()
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_live_line_fits_the_terminal(clock, monkeypatch):
    """A line that is too long is cut, since a wrapped one could not be wiped."""
    monkeypatch.setenv("COLUMNS", "20")
    out = io.StringIO()
    display = LiveDisplay(out)
    clock[0] = 1.0
    display.status(status())
    assert out.getvalue() == "\r\x1b[K" + "wc: running 1.0 s"  # 20 columns, less ^C and the cursor


def test_the_width_is_that_of_the_terminal_written_to(clock, monkeypatch):
    """With results piped on, stdout has no width to ask: the line fits the terminal of stderr all the same."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(terminal, "w") as stream:
        display = display_for(stream)
        display.status(status(name="w" * 60))
        assert os.read(controller, 4096).decode() == "\r\x1b[K" + "w" * 37
    os.close(controller)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    """What cannot wipe a line is not sent the codes for it."""
    controller, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "dumb")
    with os.fdopen(terminal, "w") as stream:
        assert type(display_for(stream)) is Display
    os.close(controller)
