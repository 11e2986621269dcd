"""What people are told of the whole run: time, shuffle, keys, output, memory, reducers, each with how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mapreduce.calls import Call
from mapreduce.check.bench import Bench
from mapreduce.check.forecast import GOOD_SPREAD, Forecast, StepForecast
from mapreduce.check.report import Estimate, Finding, Level, Sure
from mapreduce.check.suspects import place_of
from mapreduce.progress import amount, count, duration

REDUCER_BYTES = 256 << 20  # that a reduce task should read: it merges so much in seconds, and a lost one is made again
REDUCER_S = 60.0  # that one should take at most, of many: the last of them is waited for
WORTH_SHARING_S = 5.0  # of reducing in all, from which on each slot should have a share of it
MOST_REDUCERS = 256  # suggested: every map task keeps a buffer's slice for each
BUFFERS = 3  # times its size that a buffer takes while it is sorted: itself, the copy, and Polars' own
OBJECT_BYTES = 64  # what a value takes as a Python object beside its content
SKEWED = 0.2  # a key with a larger share of what is shuffled keeps one reducer busy for that much of the work
UNEVEN = 2.0  # times what each key would have if all had the same: of five even keys each has a fifth
SKEW_VALUES = 50  # of such a key at least: of fewer, chance has too much of a say
LEAST_SHARE = 0.001  # of a key that is shown as a number
SKEW_S = 10.0  # that such a key must keep a reducer busy, to be warned of: of a small job it is only told


def estimates_of(forecast: Forecast, output: tuple[float, str], peak: int, limits: tuple[int, int]) -> list[Estimate]:
    """The figures of the whole run.

    `output` is the bytes of a record as they will lie on the disk, and in which format; `peak` the most memory that a
    task process took on the sample; `limits` those of a sort buffer and of a merge. All in bytes.
    """
    steps = forecast.steps
    found = [_time(forecast)]
    grows = len(steps) > 1
    if any(step.reduces for step in steps):
        found += [_shuffle(forecast), _keys(forecast)]
        found += [_largest_key(forecast, number) for number, step in enumerate(steps) if step.reduces]
    size = steps[-1].records_out * output[0]
    sure = forecast.sure_of_keys() if steps[-1].by_key else forecast.sure(grows=steps[-1].reduces > 0 or grows)
    text = f"{_about(sure)}{_many(steps[-1].records_out, 'record')}, about {amount(size)} of {output[1]}"
    found.append(Estimate("output", size, "bytes", sure, text))
    found.append(_memory(forecast, peak, limits))
    found += [_reducers(forecast, number) for number, step in enumerate(steps) if step.reduces]
    return found


def _about(sure: Sure) -> str:
    return "" if sure is Sure.MEASURED else "about "


def _time(forecast: Forecast) -> Estimate:
    elapsed_s, work_s = forecast.elapsed_s(), forecast.work_s
    slots = "1 slot" if forecast.slots == 1 else f"{forecast.slots} slots"
    uneven = forecast.unevenness()
    why = f"places of the input differ by a factor of {uneven:.0f}" if uneven > GOOD_SPREAD else ""
    text = f"about {duration(elapsed_s)} with the {slots} here; {duration(work_s)} of work for one slot"
    return Estimate("time", elapsed_s, "s", forecast.sure_of_time(), text, "" if forecast.is_whole else why)


def _shuffle(forecast: Forecast) -> Estimate:
    shuffled = sum(step.shuffle_bytes for step in forecast.steps)
    grows = len(forecast.steps) > 1
    is_folded = forecast.steps[0].is_folded and not grows
    sure = forecast.sure_of_folded() if is_folded else forecast.sure(cut=True, grows=grows)
    return Estimate("shuffle", shuffled, "bytes", sure, f"{_about(sure)}{amount(shuffled)}")


def _keys(forecast: Forecast) -> Estimate:
    step = max((step for step in forecast.steps if step.reduces), key=lambda step: step.keys)
    if forecast.steps[-1].reduces:
        step = forecast.steps[-1]
    sure = forecast.sure_of_keys()
    is_known = step.spread.is_complete and not forecast.is_whole
    why = "no place of the sample has one of its own" if is_known else ""
    return Estimate("keys", step.keys, "keys", sure, f"{_about(sure)}{count(step.keys)}", why)


def _many(number: float, what: str) -> str:
    return f"{count(round(number))} {what}{'' if round(number) == 1 else 's'}"


def _of_step(forecast: Forecast, number: int) -> str:
    return f" of step {number + 1}" if len(forecast.steps) > 1 else ""


def _largest_key(forecast: Forecast, number: int) -> Estimate:
    step = forecast.steps[number]
    spread, name = step.spread, "largest key" + _of_step(forecast, number)
    is_steady = spread.largest_values >= SKEW_VALUES and not step.is_folded
    sure = forecast.sure(cut=step.is_folded, grows=not is_steady)
    if not spread.keys:
        return Estimate(name, 0.0, "share", sure, "none: nothing is shuffled")
    values = f"{_about(sure)}{_many(step.largest_values, 'value')}{' after folding' if step.is_folded else ''}"
    share = f"{spread.share:.1%}" if spread.share >= LEAST_SHARE else f"less than {LEAST_SHARE:.1%}"
    text = f"{spread.largest}: {share} of what is shuffled, {values}"
    return Estimate(name, spread.share, "share", sure, text)


def _memory(forecast: Forecast, peak: int, limits: tuple[int, int]) -> Estimate:
    """Of a task process: what the sample took, more of the engine's buffers as they fill, and one key's values."""
    buffers = 0.0
    held = 0.0
    for step in forecast.steps:
        per_map, per_reduce = (step.shuffle_memory / max(tasks, 1) for tasks in (step.maps, step.reduces))
        buffers = max(buffers, BUFFERS * min(per_map, limits[0]), min(per_reduce, limits[1]))
        if not step.is_folded:
            held = max(held, step.shuffle_memory * step.spread.share + OBJECT_BYTES * step.largest_values)
    text = f"about {amount(peak + buffers)} a slot"
    why = f"{amount(peak)} on the sample, and buffers"
    if held > peak:
        text += f"; a function that holds all values of the largest key takes {amount(held)} more"
    sure = max(forecast.sure(grows=True), Sure.GOOD, key=list(Sure).index)  # no two runs take the same
    return Estimate("memory", peak + buffers, "bytes", sure, text, why)


def suggested_reducers(step: StepForecast, slots: int) -> int:
    """How many reducers a step should have."""
    wanted = max(math.ceil(step.shuffle_memory / REDUCER_BYTES), math.ceil(step.reduce_s / REDUCER_S), 1)
    if step.reduce_s > WORTH_SHARING_S:
        wanted = max(wanted, slots)
    return int(min(wanted, MOST_REDUCERS, max(step.keys, 1)))


def _reducers(forecast: Forecast, number: int) -> Estimate:
    step = forecast.steps[number]
    wanted = suggested_reducers(step, forecast.slots)
    name = "reducers" + _of_step(forecast, number)
    if wanted == step.reduces:
        text = f"{wanted}, as it will be"
    else:
        other_s = forecast.elapsed_s({number: wanted})
        text = f"{wanted} would do (--reducers {wanted}: {duration(other_s)}); without, it will be {step.reduces}"
    return Estimate(name, wanted, "reducers", forecast.sure(grows=True), text)


# ------------------------------------------------------------------------------------------------------------ skew


def skewed_keys(bench: Bench, steps: Sequence[StepForecast]) -> list[Finding]:
    """Tell of keys that have so much of what is shuffled that their reducer is what everything waits for."""
    findings = []
    for number, (step, plan) in enumerate(zip(steps, bench.job.resolved, strict=True)):
        spread = step.spread
        is_even = spread.share * spread.keys < UNEVEN
        if step.is_folded or is_even or spread.share < SKEWED or spread.largest_values < SKEW_VALUES:
            continue
        where = f" in step {number + 1}" if len(steps) > 1 else ""
        title = f"one key has {spread.share:.0%} of what is shuffled{where}: {spread.largest}"
        busy_s = step.reduce_s * spread.share
        details = [f"one reduce task has all of it, for about {duration(busy_s)}, however many there are"]
        if busy_s < SKEW_S:
            findings.append(Finding("skew", Level.NOTE, title, tuple(details)))
            continue
        details.append(
            "fold it on the way (an aggregating reducer or a combiner), leave it out in the mapper, or make several "
            "keys of it and put them together in a further step"
        )
        code = place_of(plan.reducer.function) if isinstance(plan.reducer, Call) else ()
        findings.append(Finding("skew", Level.WARNING, title, tuple(details), code))
    return findings
