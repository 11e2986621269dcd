"""What a person sees of a running job on a terminal or in a log: lines of text made from its status.

Owns the wording, the rates, the live display and the final summary. `Meter` and the functions are pure; the displays
write to a stream (stderr) and are `client.Listener`s. What tasks print goes through them, so that it never tears a
display that is being redrawn.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

from mapreduce.max_bad import BAD_FOLDER, total_line

if TYPE_CHECKING:
    from mapreduce.protocol.messages import JobStatus, LogEntry, StepStatus

RATE_WINDOW_S = 5.0  # the rate is of the last seconds: long enough to be steady, short enough to be now
LEFT_AFTER_S = 3.0  # no guess of the time left before this
LEFT_FRACTION = 0.03  # and none from less than this share of the work
REDRAW_S = 0.2  # a live display at most so often: people see no more
PLAIN_EVERY_S = 5.0  # a plain line at most so often; a shorter job prints none
ROOM_FOR_INTERRUPT = 3  # columns: ^C, and the cursor behind it
WAITING_AFTER_S = 1.5  # a wait is mentioned once it has lasted this long: starting up is no news
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def amount(size: float) -> str:
    """Bytes for people: "1.5 MB" (units of 1024)."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KB", "MB", "GB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TB"


def count(number: float) -> str:
    """A number for people: "12,345", or "1.23 M" from a million on."""
    if number < 1_000_000:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.2f} M" if number < 1e9 else f"{number / 1e9:,.2f} G"


def records(number: int) -> str:
    """So many records, for people."""
    return f"{count(number)} record{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time for people: "0.8 s", "2 min 5 s", "3 h 20 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _finished(step: StepStatus) -> bool:
    return step.maps_done >= step.shape.maps and step.reduces_done >= step.shape.reduces


def share_done(status: JobStatus) -> float:
    """The share of the work that is done, 0 to 1: every phase of every step counts alike, a rough guess."""
    shares: list[float] = []
    for index, step in enumerate(status.steps):
        maps = step.maps_done / step.shape.maps if step.shape.maps else 1.0
        if index == 0 and status.input_bytes and maps < 1:
            maps = max(maps, min(1.0, status.bytes_in / status.input_bytes))
        shares.append(maps)
        if step.shape.reduces:
            shares.append(step.reduces_done / step.shape.reduces)
    return sum(shares) / len(shares) if shares else 0.0


class Meter:
    """Rates and the time left, from a sequence of statuses. Times are of one monotonic clock, in seconds."""

    def __init__(self, now_s: float) -> None:
        self._start_s = now_s
        self._samples: deque[tuple[float, int]] = deque()
        self.last: JobStatus | None = None

    def take(self, status: JobStatus, now_s: float) -> None:
        """Take a newer status."""
        self.last = status
        self._samples.append((now_s, status.records_in))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()

    def records_per_s(self) -> float:
        """Records read a second, over the last seconds."""
        if len(self._samples) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (last_s - first_s)) if last_s > first_s else 0.0

    def elapsed_s(self, now_s: float) -> float:
        """How long the job has been under way, as far as is known here."""
        return max(now_s - self._start_s, self.last.elapsed_s if self.last else 0.0)

    def left_s(self, now_s: float) -> float | None:
        """The time left, or None while it would be a mere guess."""
        elapsed = self.elapsed_s(now_s)
        done = share_done(self.last) if self.last else 0.0
        if elapsed < LEFT_AFTER_S or done < LEFT_FRACTION or done >= 1:
            return None
        return elapsed * (1 - done) / done

    def line(self, now_s: float) -> str:
        """One line that says how the job goes; without control characters."""
        status = self.last
        if status is None:
            return "starting"
        if status.waiting_for:
            return clean(f"{status.name}: waiting for {status.waiting_for}")
        parts = [clean(f"{status.name}: {status.state} {duration(self.elapsed_s(now_s))}")]
        index = next((i for i, step in enumerate(status.steps) if not _finished(step)), len(status.steps) - 1)
        if status.steps:
            step = status.steps[index]
            if len(status.steps) > 1:
                parts[0] += f", step {index + 1} of {len(status.steps)}"
            parts.append(f"map {step.maps_done}/{step.shape.maps}")
            if step.shape.reduces:
                parts.append(f"reduce {step.reduces_done}/{step.shape.reduces}")
        if rate := self.records_per_s():  # none while a task is at its first records, or in the reduces
            parts.append(f"{count(rate)} records/s")
        parts.append(f"{amount(status.shuffle_bytes)} shuffled")
        left = self.left_s(now_s)
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return "  ".join(parts)


def clean(text: str) -> str:
    """Text without control characters, which could do things to a terminal."""
    return _CONTROL.sub(" ", text)


def summary(status: JobStatus, elapsed_s: float, place: str) -> list[str]:
    """The lines at a job's end: time, sizes, counters, warnings and `place`, where the output is ("" if nowhere)."""
    after = {"done": "in", "kept": "in", "running": "for"}.get(status.state, "after")
    lines = [f"{status.name}: {status.state} {after} {duration(elapsed_s)}  ({status.job})"]
    sizes = f"  read {records(status.records_in)} ({amount(status.bytes_in)}), wrote {count(status.records_out)}"
    lines.append(f"{sizes}, shuffled {amount(status.shuffle_bytes)}")
    if status.resumes:
        from mapreduce.failed.outcome import told  # noqa: PLC0415 - for such jobs alone

        lines.append(f"  resumed {status.resumes}: {told(status)}")
    lines += [f"  {name} = {value:,}" for name, value in sorted(status.counters.items())]
    if status.bad:
        where = f", in {place.rstrip('/')}/{BAD_FOLDER}" if place and status.state == "done" else ""
        lines.append(f"  {total_line(status.bad)}{where}")
    lines += [f"  warning: {warning}" for warning in status.warnings]
    if status.kept_bytes:
        lines.append(f"  kept on the workers: {amount(status.kept_bytes)}")
    if place:
        lines.append(f"  output: {place}")
    return [clean(line) for line in lines]


class Display:
    """Plain lines, now and then: for logs, pipes and CI. Also the base of the live display."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        now = time.monotonic()
        self._meter = Meter(now)
        self._next_s = now + PLAIN_EVERY_S
        self._waiting: tuple[str, float] = ("", now)
        self._told = ""

    @property
    def job(self) -> str:
        """The job's id, "" as long as none is known."""
        return "" if self._meter.last is None else self._meter.last.job

    def status(self, status: JobStatus) -> None:
        """Take the newest status."""
        now = time.monotonic()
        self._meter.take(status, now)
        if status.waiting_for != self._waiting[0]:
            self._waiting = (status.waiting_for, now)
        self.tick()

    def tick(self) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        waiting, since = self._waiting
        if waiting and waiting != self._told and now - since >= WAITING_AFTER_S:
            self._told = waiting
            self._write(self._meter.line(now) + "\n")
        elif now >= self._next_s and not waiting:
            self._told = ""
            self._next_s = now + PLAIN_EVERY_S
            self._write(self._meter.line(now) + "\n")

    def logs(self, entries: tuple[LogEntry, ...]) -> None:
        """Write what tasks printed."""
        self.above("".join(entry.text for entry in entries))

    def notice(self, text: str) -> None:
        """Write a line of our own."""
        self.above(clean(text) + "\n")

    def above(self, text: str) -> None:
        """Write text; whatever is being redrawn stays below it."""
        self._write(text)

    def ended(self, error: BaseException | None) -> None:
        """Take that the run is over; `error` is what it raised. Who ran it tells of that."""

    def close(self) -> None:
        """Leave the terminal clean."""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class LogDisplay(Display):
    """What tasks print and what the client has to say, and no progress."""

    def tick(self) -> None:
        """Draw nothing."""


class LiveDisplay(Display):
    """One line at the bottom of a terminal, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._drawn = False
        self._open_line = False  # what tasks printed last did not end its line
        self._redraw_s = time.monotonic()

    def tick(self) -> None:
        """Redraw the line if it is time."""
        now = time.monotonic()
        if now < self._redraw_s or self._open_line:
            return
        self._redraw_s = now + REDRAW_S
        waiting, since = self._waiting
        if waiting and now - since < WAITING_AFTER_S:
            return
        self._drawn = True
        self._write(f"\r\x1b[K{self._meter.line(now)[: self._width()]}")

    def above(self, text: str) -> None:
        """Wipe the line, write the text; the line comes back with the next redraw."""
        if not text:
            return
        self.close()
        self._write(text)
        self._open_line = not text.endswith("\n")

    def _width(self) -> int:
        """How much fits a line, with the ^C that a terminal shows after it: what wraps cannot be wiped."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:  # no terminal, as in tests
            columns = 0
        return (columns or shutil.get_terminal_size().columns) - ROOM_FOR_INTERRUPT

    def close(self) -> None:
        """Wipe the line."""
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[K")


def display_for(stream: TextIO) -> Display:
    """A live display for a terminal, plain lines for anything else."""
    live = stream.isatty() and os.environ.get("TERM") != "dumb"  # which cannot wipe a line
    return LiveDisplay(stream) if live else Display(stream)
