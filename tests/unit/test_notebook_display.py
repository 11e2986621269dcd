"""What a notebook shows of jobs: one output a cell, seldom updated, and tables in which users' text is only text."""

from __future__ import annotations

import html.parser
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.events import EventManager, available_events

from mapreduce import notebook_display
from mapreduce.errors import JobCancelled, OutputError, UsageError
from mapreduce.notebook_display import RECORDS_SHOWN, SHOWN_CHARS, Cell, CellDisplay, listening, shown
from mapreduce.plan import AttemptId, StepShape, TaskId, TaskKind
from mapreduce.progress import Display, LogDisplay
from mapreduce.protocol.messages import JobStatus, LogEntry, StepStatus
from mapreduce.result import JobHandle, NamedOutput, Result

RUNNING = JobStatus("wc-1", "wc", "running", steps=(StepStatus(StepShape(10, 4), maps_done=5),))
DONE = JobStatus("wc-1", "wc", "done", records_in=3, records_out=2)


@pytest.fixture
def notebook():
    """The parts of a kernel's shell that are used: IPython's own, without a kernel around them."""
    shell = SimpleNamespace(display_pub=CapturingDisplayPublisher())
    shell.events = EventManager(shell, available_events)
    return shell


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(notebook_display.time, "monotonic", lambda: now[0])
    return now


def last(notebook, kind="text/plain"):
    return notebook.display_pub.outputs[-1]["data"][kind]


def test_a_bar_moves_and_ends_as_a_line(notebook, clock):
    """One display is made, then updated: a bar with the share done, at last what the run read and wrote."""
    display = CellDisplay(io.StringIO(), Cell(notebook))
    display.status(RUNNING)
    assert last(notebook).startswith(" 25%  wc: running")
    assert '<progress max="1" value="0.250"></progress> wc: running' in last(notebook, "text/html")
    clock[0] = 1.0
    display.status(DONE)
    display.ended(None)
    assert last(notebook) == "wc: done in 1.0 s  (wc-1)\n  read 3 records (0 B), wrote 2, shuffled 0 B"
    outputs = notebook.display_pub.outputs
    assert [output["update"] for output in outputs] == [False] + [True] * (len(outputs) - 1)
    assert len({output["transient"]["display_id"] for output in outputs}) == 1


def test_a_page_is_updated_at_most_five_times_a_second(notebook, clock):
    """However often runs of a cell report and end; and the cell's end shows what is newest."""
    cell = Cell(notebook)
    drawn = []
    for step in range(300):
        clock[0] = step / 100
        before = len(notebook.display_pub.outputs)
        if step % 7 == 0:
            display = CellDisplay(io.StringIO(), cell)
        display.status(RUNNING)
        if step % 7 == 6:
            display.status(DONE)
            display.ended(None)
        drawn += [clock[0]] * (len(notebook.display_pub.outputs) - before)
    assert all(sum(start <= at < start + 1 for at in drawn) <= 5 for start in drawn)
    assert len(drawn) > 10
    display.status(DONE)
    display.ended(None)
    cell.finish()
    assert last(notebook).endswith("wrote 2, shuffled 0 B")


def test_a_single_run_stays_steady_and_its_end_is_shown_at_once(notebook, clock):
    """A bar leaves room for the end, so that a cell that goes on does not show a run that is over."""
    display = CellDisplay(io.StringIO(), Cell(notebook))
    for step in range(1, 250):
        clock[0] = step / 100
        display.status(RUNNING)
    display.status(DONE)
    display.ended(None)
    assert last(notebook).startswith("wc: done")


def test_a_loop_fills_no_page(notebook, clock):
    """The latest runs of a cell are shown, the earlier ones are counted."""
    cell = Cell(notebook)
    for number in range(30):
        clock[0] = float(number)
        display = CellDisplay(io.StringIO(), cell)
        display.status(DONE)
        display.ended(None)
    assert last(notebook).startswith("… 25 earlier runs\nwc: done")
    assert last(notebook).count("wc: done") == 5


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UsageError("x"), "wc: failed after 2.0 s"),
        (JobCancelled("x"), "wc: cancelled after 2.0 s"),
        (KeyboardInterrupt(), "wc: interrupted after 2.0 s"),
        (MemoryError(), "wc: stopped by MemoryError after 2.0 s"),
    ],
)
def test_a_run_that_raised_says_how_it_ended(notebook, clock, error, words):
    """The line tells of a failure, an interrupt or a cancelling; the error itself is shown by the notebook."""
    display = CellDisplay(io.StringIO(), Cell(notebook))
    display.status(RUNNING)
    clock[0] = 2.0
    display.ended(error)
    assert last(notebook) == words
    display.tick()
    assert last(notebook) == words


def test_warnings_stay_with_the_line(notebook, clock):
    """The first few stand below it; the rest is counted, and the result has them."""
    display = CellDisplay(io.StringIO(), Cell(notebook))
    display.status(JobStatus("wc-1", "wc", "done", warnings=tuple(f"<{n}>" for n in range(8))))
    display.ended(None)
    assert "  warning: <4>\n  … and 3 more warnings" in last(notebook)
    assert "warning: &lt;4&gt;" in last(notebook, "text/html")


def test_what_tasks_print_goes_to_the_stream(notebook):
    """The bar does not swallow it."""
    stream = io.StringIO()
    display = CellDisplay(stream, Cell(notebook))
    display.logs((LogEntry(AttemptId(TaskId("wc-1", 0, TaskKind.MAP, 0), 1), "hello\n"),))
    assert stream.getvalue() == "hello\n"


def test_a_cell_has_one_output_until_it_ends(notebook):
    """Runs of one cell share it; the next cell gets its own."""
    cells = notebook_display._Cells()
    first = cells.of(notebook)
    assert cells.of(notebook) is first
    notebook.events.trigger("post_execute")
    assert cells.of(notebook) is not first
    notebook.events.trigger("post_execute")
    assert notebook.events.callbacks["post_execute"] == []


def test_outside_of_notebooks_nothing_changes(capsys):
    """A program shows progress only if it asks for it."""
    for progress, kind in ((None, LogDisplay), (False, LogDisplay), (True, Display)):
        with listening(progress) as display:
            assert type(display) is kind
    with pytest.raises(KeyError), listening(None):
        raise KeyError
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------------------------- tables


class Text(html.parser.HTMLParser):
    """Takes a page apart: its text, and the names of its tags."""

    def __init__(self, page):
        super().__init__()
        self.words, self.tags = [], set()
        self.feed(page.encode().decode())  # a page that cannot be sent raises here
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "max", "value"}

    def handle_data(self, data):
        self.words.append(data)


class Made(Result):
    """A result of these pairs."""

    def __init__(self, pairs, **fields):
        super().__init__(JobStatus(**{"job": "wc-1", "name": "wc", "state": "done", **fields}), Path("out"))
        self.pairs = pairs

    @property
    def outputs(self):
        return {"odd <ones>": NamedOutput("odd <ones>", 7, Path("out/odd"))}

    def __iter__(self):
        return iter(self.pairs)


def test_a_result_is_a_table():
    """Job, tasks, sizes, counters, warnings, output and the first records are in it."""
    result = Made(
        [("be", 2), ("not", 1), *[("x", 0)] * 20],
        steps=(StepStatus(StepShape(10, 4, "tokens -> Count()")), StepStatus(StepShape(4, 0))),
        records_in=1234,
        records_out=22,
        counters={"docs": 12_345},
        warnings=("odd",),
        elapsed_s=2.0,
    )
    text = " ".join(Text(result._repr_html_()).words)
    assert text.startswith("wc: done in 2.0 s job wc-1 step 1 10 maps, 4 reduces (tokens -> Count()) step 2 4 maps")
    assert "read 1,234 records, 0 B wrote 22 records; shuffled 0 B counter docs 12,345 warning odd output" in text
    rest = " ".join(["'x' 0"] * (RECORDS_SHOWN - 2))
    assert "output odd <ones> 7 records" in text
    assert f"key value 'be' 2 'not' 1 {rest} … 17 more" in text


def test_values_alone_are_shown_alone():
    """Records without keys have one column."""
    assert " ".join(Text(Made([(None, "a"), (None, 1)])._repr_html_()).words).endswith("value 'a' 1")
    assert Text(Made([])._repr_html_()).words[-1] == "no records"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=20), st.one_of(st.text(st.characters()), st.binary(), st.integers()))
def test_the_text_of_users_is_never_html(text, item):
    """Whatever names, warnings, counters, keys and values hold, the page has our tags alone and can be sent."""
    result = Made(
        [(item, text), (text, [item, {text: item}])],
        name=text,
        counters={text: 1},
        warnings=(text,),
        steps=(StepStatus(StepShape(1, 1, text)),),
    )
    allowed = {"div", "b", "table", "tr", "th", "td"}
    assert Text(result._repr_html_()).tags <= allowed
    assert Text(JobHandle(text, text)._repr_html_()).tags <= allowed


def test_records_that_are_gone_are_said_to_be(tmp_path):
    """A result whose folder was removed still has its table."""
    page = Result(DONE, tmp_path / "gone")._repr_html_()
    assert "the records cannot be read" in page
    with pytest.raises(OutputError):
        list(Result(DONE, tmp_path / "gone"))


def test_a_named_output_is_a_table():
    """It has a table of its own, with its name, place and first records."""
    page = NamedOutput("<odd>", 7, Path("gone"))._repr_html_()
    assert Text(page).words[:5] == ["<odd>", "records", "7", "output", "gone"]
    assert "the records cannot be read" in page


def test_large_values_are_shown_in_short():
    """What is shown of a key or value is short, also of ints with more digits than Python writes."""
    large = [10**6000, b"x" * 10**6, "y" * 10**6, list(range(10**6)), dict.fromkeys(range(1000), "z" * 1000)]
    for value in [*large, large]:
        assert len(shown(value)) <= 4 * SHOWN_CHARS + 1
    assert shown(("a", 1, None, b"b", [1.5])) == "('a', 1, None, b'b', [1.5])"


def test_a_handle_is_a_table_without_asking_anybody():
    """Nothing listens at the address, and it is shown all the same."""
    words = Text(JobHandle("wc-1", "tcp://127.0.0.1:1")._repr_html_()).words
    assert words[:4] == ["job", "wc-1", "coordinator", "tcp://127.0.0.1:1"]
