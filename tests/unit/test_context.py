"""The context: counters, place, random numbers, warnings; and how records are shown."""

from __future__ import annotations

import pytest

from mapreduce import config
from mapreduce.dataflow.context import Context, Site, shorten
from mapreduce.errors import RecordError
from mapreduce.plan import AttemptId, TaskId, TaskKind


def context(index: int = 0, number: int = 1, seed: int = 0, site: Site | None = None, previous=()) -> Context:
    task = TaskId("job", 0, TaskKind.MAP, index)
    return Context(AttemptId(task, number), seed=seed, params={"n": 3}, previous=previous, site=site)


def test_counters_start_at_zero_and_come_sorted():
    """A new counter starts at 0; the checked form is a plain dict sorted by name."""
    ctx = context()
    ctx.counters["docs"] += 1
    ctx.counters["docs"] += 1
    ctx.counters["bad"] += 5
    assert list(ctx.counters.checked().items()) == [("bad", 5), ("docs", 2)]


@pytest.mark.parametrize("name", ["", "x" * (config.COUNTER_NAME_CHARS + 1), 3, None])
def test_counter_names_are_short_text(name):
    """A name that is no short text is refused at its first use, and if it was assigned, at the end."""
    ctx = context()
    with pytest.raises(RecordError, match="name"):
        ctx.counters[name] += 1
    ctx.counters[name] = 1
    with pytest.raises(RecordError, match="name"):
        ctx.counters.checked()


@pytest.mark.parametrize("count", [1.5, "1", 2**63, True])
def test_counters_are_ints(count):
    """A counter that is no 64-bit int is refused with what to write."""
    ctx = context()
    ctx.counters["docs"] = count
    with pytest.raises(RecordError, match=r"\+= 1"):
        ctx.counters.checked()


def test_counters_are_bounded():
    """A counter for each word is told to be a result."""
    ctx = context()
    for number in range(config.COUNTERS):
        ctx.counters[str(number)] += 1
    with pytest.raises(RecordError, match="yield it as a pair"):
        ctx.counters["one more"] += 1


def test_previous_counters_add_up():
    """Counters of all earlier steps are there by name, and those of each step."""
    ctx = context(previous=({"docs": 3}, {"docs": 1, "terms": 7}))
    assert ctx.previous.counters == {"docs": 4, "terms": 7}
    assert ctx.previous.steps[0] == {"docs": 3}


def test_a_counter_that_no_step_has_counted_is_told():
    """A misspelt name is an error that shows the others, and how to allow for it; `get` gives a default."""
    counters = context(previous=({"docs": 3},)).previous.counters
    with pytest.raises(RecordError, match=r"have not counted 'dcos', but 'docs': write ctx\.previous\.counters\.get"):
        counters["dcos"]
    with pytest.raises(RecordError, match="have not counted 'docs', but nothing"):
        context().previous.counters["docs"]
    assert counters.get("dcos", 0) == 0


def test_random_depends_on_seed_and_task_alone():
    """Each retry of a task draws the same numbers; other tasks and seeds draw others."""
    drawn = context().random.random()
    assert drawn == context(number=9).random.random()
    assert drawn != context(index=1).random.random()
    assert drawn != context(seed=1).random.random()


def test_random_stays_the_same_for_ever():
    """The seed is a stable hash: these numbers must not change between versions."""
    assert context().random.randrange(10**9) == context().random.randrange(10**9) == STABLE


STABLE = 842789472


def test_place_is_asked_for_only_when_wanted():
    """Path and offset come from the loop's place; outside a mapper on a file they are refused."""
    asked = []
    site = Site()
    ctx = context(site=site)
    for name in ("path", "offset"):
        with pytest.raises(RecordError, match="first step"):
            getattr(ctx, name)
    site.place = lambda: asked.append(1) or ("a.txt", 7)
    assert not asked
    assert (ctx.path, ctx.offset) == ("a.txt", 7)


def test_facts_of_the_attempt():
    """Task, number and parameters are there."""
    ctx = context(index=3, number=2)
    assert (ctx.task, ctx.index, ctx.attempt, ctx.params["n"]) == ("map 3", 3, 2, 3)


def test_warnings_are_kept_once_and_bounded():
    """The same text is kept once, long ones are cut, and too many end in a remark."""
    ctx = context()
    ctx.warn("x" * 1000)
    for number in range(100):
        ctx.warn("same")
        ctx.warn(f"warning {number}")
    assert len(ctx.warnings) == config.WARNINGS
    assert len(ctx.warnings[0]) == config.WARNING_CHARS
    assert ctx.warnings[1] == "same"
    assert "dropped" in ctx.warnings[-1]


def test_records_are_shown_shortened():
    """A long record is cut; one whose repr raises is named."""

    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert shorten("abc") == "'abc'"
    assert len(shorten("x" * 10**6)) <= config.RECORD_CHARS
    assert "1,000,000" in shorten("x" * 10**6)
    assert len(shorten(list(range(10**4)))) == config.RECORD_CHARS
    assert shorten(Broken()) == "<Broken whose repr raises ValueError>"


def test_warnings_and_counters_fit_any_wire():
    """A lone surrogate in a warning is escaped, in a counter's name refused; names are bounded in bytes."""
    context = Context(AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1))
    context.warn("bad name \ud800")
    assert context.warnings == ("bad name \\ud800",)
    with pytest.raises(RecordError, match="lone surrogate"):
        context.counters["\ud800"] += 1
    context.counters["é" * (config.COUNTER_NAME_CHARS // 2)] += 1
    with pytest.raises(RecordError, match="bytes in UTF-8"):
        context.counters["é" * config.COUNTER_NAME_CHARS] += 1
