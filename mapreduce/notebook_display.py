"""What a notebook shows of jobs: the progress of a cell's runs, and tables for results and handles.

Owns the HTML. All text of users in it is escaped. A cell has one output of ours, however many jobs it runs: it is
updated in place, so that nothing flickers and a loop of many rounds does not fill the page.
"""

from __future__ import annotations

import contextlib
import itertools
import reprlib
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from mapreduce.errors import JobCancelled, MapReduceError, OutputError
from mapreduce.max_bad import total_line
from mapreduce.notebook import shell
from mapreduce.progress import (
    WAITING_AFTER_S,
    Display,
    LogDisplay,
    amount,
    clean,
    count,
    display_for,
    duration,
    records,
    share_done,
    summary,
)

if TYPE_CHECKING:
    from mapreduce.result import JobHandle, NamedOutput, Output, Records, Result

REDRAW_S = 0.25  # between two steps of a bar: so the end of a run still finds room among the DRAWS_PER_S
DRAWS_PER_S = 5  # updates that a page gets at most: more would only keep it busy
RUNS_SHOWN = 5  # the latest runs of a cell; a loop's earlier ones are only counted
WARNINGS_SHOWN = 5  # below a run; its Result has all
RECORDS_SHOWN = 5  # the first ones of a result: what they look like, no more
COUNTERS_SHOWN = 50  # in a table that a person reads
SHOWN_CHARS = 200  # of one key or value
SHOWN_ITEMS = 10  # of one list or dict
SHOWN_DEPTH = 4  # of containers in containers

_CELL = "text-align:left;vertical-align:top;padding:0.1em 0.8em 0.1em 0"
_LINE = "font-family:monospace;white-space:pre-wrap"


@contextlib.contextmanager
def listening(progress: bool | None) -> Iterator[Display]:
    """Show how a run goes while the block lasts: a bar in a notebook, else on stderr if `progress` is true.

    With None only notebooks show it. What tasks print goes to stderr in any case.
    """
    notebook = shell() if progress is not False else None
    display: Display
    if notebook is not None:
        display = CellDisplay(sys.stderr, _CELLS.of(notebook))
    else:
        display = display_for(sys.stderr) if progress else LogDisplay(sys.stderr)
    try:
        yield display
    except BaseException as error:
        display.ended(error)
        raise
    else:
        display.ended(None)
    finally:
        display.close()


# --------------------------------------------------------------------------------------------------- a cell's runs


class Cell:
    """The output of one cell that runs jobs: a line for each of its latest runs. For several threads."""

    def __init__(self, notebook: Any) -> None:
        """Take the kernel's IPython shell; nothing is shown yet."""
        self._notebook = notebook
        self._id = f"mapreduce-{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._lines: deque[CellDisplay] = deque(maxlen=RUNS_SHOWN)
        self._earlier = 0
        self._drawn: deque[float] = deque(maxlen=DRAWS_PER_S)
        self._waiting = False  # there is something newer than what is shown

    def add(self, line: CellDisplay) -> None:
        """Show another run below the others."""
        with self._lock:
            self._earlier += len(self._lines) == RUNS_SHOWN
            self._lines.append(line)

    def draw(self, now_s: float) -> None:
        """Show the newest, unless that has been done too often in the last second; `finish` makes up for it."""
        with self._lock:
            self._waiting = len(self._drawn) == DRAWS_PER_S and now_s - self._drawn[0] < 1.0
            if not self._waiting:
                self._publish(now_s)

    def finish(self) -> None:
        """Show the newest now that the cell is over."""
        with self._lock:
            if self._waiting:
                self._waiting = False
                self._publish(time.monotonic())

    def _publish(self, now_s: float) -> None:
        earlier = f"… {count(self._earlier)} earlier run{'' if self._earlier == 1 else 's'}"
        rows = [(earlier, _div(earlier))] if self._earlier else []
        rows += [line.row(now_s) for line in self._lines]
        data = {"text/plain": "\n".join(text for text, _ in rows), "text/html": "".join(page for _, page in rows)}
        # The publisher is asked for each time: %%capture puts another in its place.
        self._notebook.display_pub.publish(data=data, transient={"display_id": self._id}, update=bool(self._drawn))
        self._drawn.append(now_s)


class _Cells:
    """The cell that is being run, if it runs jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cell: Cell | None = None

    def of(self, notebook: Any) -> Cell:
        """The cell now running in a kernel; its output ends with it."""
        with self._lock:
            if self._cell is None:
                cell = self._cell = Cell(notebook)

                def over() -> None:
                    notebook.events.unregister("post_execute", over)
                    with self._lock:
                        self._cell = None
                    cell.finish()

                notebook.events.register("post_execute", over)
            return self._cell


_CELLS = _Cells()


class CellDisplay(Display):
    """One run of a cell: a bar that moves, then a line that says how it ended; and the tasks' words on `stream`."""

    def __init__(self, stream: TextIO, cell: Cell) -> None:
        super().__init__(stream)
        self._cell = cell
        self._redraw_s = 0.0
        self._end: list[str] = []  # the lines to stay
        cell.add(self)

    def tick(self) -> None:
        """Redraw the bar if it is time."""
        now = time.monotonic()
        waiting, since = self._waiting
        if self._end or now < self._redraw_s or (waiting and now - since < WAITING_AFTER_S):
            return
        self._redraw_s = now + REDRAW_S
        self._cell.draw(now)

    def ended(self, error: BaseException | None) -> None:
        """Leave a line that says how the run ended, and its warnings."""
        now = time.monotonic()
        status, elapsed = self._meter.last, self._meter.elapsed_s(now)
        if error is None and status is not None:
            first, sizes = summary(status, elapsed, "")[:2]
            warnings = [f"  warning: {clean(warning)}" for warning in status.warnings]
            left_out = len(warnings) - WARNINGS_SHOWN
            more = [f"  … and {left_out} more warnings: see result.warnings"] if left_out > 0 else []
            self._end = [first, sizes, *warnings[:WARNINGS_SHOWN], *more]
        else:
            name = "the job" if status is None else status.name
            self._end = [clean(f"{name}: {_how(error)} after {duration(elapsed)}")]
        self._cell.draw(now)

    def row(self, now_s: float) -> tuple[str, str]:
        """The run as text and as HTML."""
        if self._end:
            text = "\n".join(self._end)
            return text, _div(text)
        line = self._meter.line(now_s)
        share = share_done(self._meter.last) if self._meter.last else 0.0
        return f"{share:4.0%}  {line}", _div(line, f'<progress max="1" value="{share:.3f}"></progress> ')


def _how(error: BaseException | None) -> str:
    """How a run ended that has no last status, or raised."""
    match error:
        case None:
            return "done"
        case KeyboardInterrupt():
            return "interrupted"
        case JobCancelled():
            return "cancelled"
        case MapReduceError():
            return "failed"
        case _:
            return f"stopped by {type(error).__name__}"


def _div(text: str, before: str = "") -> str:
    return f'<div style="{_LINE}">{before}{_escaped(text)}</div>'


def _escaped(text: str) -> str:
    """Text for HTML; what no message can carry (lone surrogates) is shown as "?"."""
    import html  # noqa: PLC0415 - only notebooks show any

    return html.escape(text.encode("utf-8", "replace").decode())


# ---------------------------------------------------------------------------------------------------------- tables


def result_html(result: Result) -> str:
    """A finished job as a table: its name, tasks, sizes, counters, warnings, output and first records."""
    status = result.status
    title = clean(f"{status.name}: {status.state} in {duration(status.elapsed_s)}")
    rows = [("job", clean(status.job))]
    for number, step in enumerate(status.steps, 1):
        name = clean(f" ({step.shape.title})") if step.shape.title else ""
        tasks = f"{count(step.shape.maps)} map{'' if step.shape.maps == 1 else 's'}"
        if step.shape.reduces:
            tasks += f", {count(step.shape.reduces)} reduce{'' if step.shape.reduces == 1 else 's'}"
        rows.append((f"step {number}", tasks + name))
    rows.append(("read", f"{records(status.records_in)}, {amount(status.bytes_in)}"))
    rows.append(("wrote", f"{records(status.records_out)}; shuffled {amount(status.shuffle_bytes)}"))
    shown = sorted(result.counters.items())[:COUNTERS_SHOWN]
    rows += [(f"counter {clean(name)}", f"{number:,}") for name, number in shown]
    if len(result.counters) > len(shown):
        rows.append(("counters", f"… and {len(result.counters) - len(shown)} more"))
    rows += [("bad records", clean(total_line(status.bad)))] if status.bad else []
    rows += [("warning", clean(warning)) for warning in result.warnings]
    rows.append(("output", _place(result)))
    rows += _named_outputs(result)
    return f"<div><b>{_escaped(title)}</b>{_table(rows)}{_first_records(result, status.records_out)}</div>"


def named_output_html(output: NamedOutput) -> str:
    """A named output of a job as a table, with its first records."""
    rows = [("records", count(output.records)), ("output", _place(output))]
    return f"<div><b>{_escaped(output.name)}</b>{_table(rows)}{_first_records(output, output.records)}</div>"


def output_html(output: Output) -> str:
    """What a job has once written as a table: its named outputs, bad records and first records."""
    rows = [("output", _place(output)), *_named_outputs(output)]
    try:
        total, bad = len(output), len(output.bad)
    except OutputError as error:
        return f"<div>{_table(rows)}{_div(str(error))}</div>"
    rows += [("bad records", count(bad))] if bad else []
    return f"<div>{_table([('records', count(total)), *rows])}{_first_records(output, total)}</div>"


def handle_html(handle: JobHandle) -> str:
    """A job on a cluster as a table, without asking its coordinator."""
    rows = [("job", handle.id), ("coordinator", handle.coordinator), ("methods", "status(), wait(), cancel()")]
    return _table([(name, clean(value)) for name, value in rows])


def _place(output: Records) -> str:
    return "temporary: it goes away with this object" if output.output is None else clean(str(output.output))


def _named_outputs(result: Output) -> list[tuple[str, str]]:
    try:
        return [(f"output {name}", records(output.records)) for name, output in result.outputs.items()]
    except OutputError:
        return []  # the folder is gone: the place of the first records says so


def _table(rows: list[tuple[str, str]]) -> str:
    return f"<table>{''.join(_row(name, value) for name, value in rows)}</table>"


def _row(name: str, value: str) -> str:
    return f'<tr><th style="{_CELL}">{_escaped(name)}</th><td style="{_CELL}">{_escaped(value)}</td></tr>'


def _first_records(output: Records, total: int) -> str:
    try:
        pairs = list(itertools.islice(output, RECORDS_SHOWN))
    except (MapReduceError, OSError) as error:  # the folder was removed, say: the table shows it in their place
        return _div(f"the records cannot be read: {error}")
    if not pairs:
        return _div("no records")
    columns = ("key", "value") if any(key is not None for key, _ in pairs) else ("value",)
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in columns)
    lines = [f"<tr>{head}</tr>"]
    for pair in pairs:
        cells = [f'<td style="{_CELL};{_LINE}">{_escaped(shown(item))}</td>' for item in pair[-len(columns) :]]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    left_out = total - len(pairs)
    more = _div(f"… {left_out:,} more") if left_out > 0 else ""
    return f"<table>{''.join(lines)}</table>{more}"


class _Repr(reprlib.Repr):
    """A repr that looks at the beginning of large values only."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = SHOWN_DEPTH
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = SHOWN_ITEMS
        self.maxstring = self.maxother = SHOWN_CHARS
        self.maxlong = SHOWN_CHARS

    def repr_int(self, x: int, level: int) -> str:
        """An int, also one with more digits than Python likes to write."""
        return super().repr_int(x, level) if x.bit_length() < 4 * SHOWN_CHARS else f"<int of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, _level: int) -> str:
        """Bytes, of which `reprlib` would take the repr of all."""
        return repr(x[:SHOWN_CHARS]) + ("…" if len(x) > SHOWN_CHARS else "")


_REPR = _Repr()


def shown(value: Any) -> str:
    """The repr of a key or value, shortened; cheap for large ones too."""
    text = _REPR.repr(value)
    return text if len(text) <= 4 * SHOWN_CHARS else text[: 4 * SHOWN_CHARS] + "…"
