"""The curves: what grows, on which input, what is looked at, and how much it may cost."""

import dataclasses
import functools
import sys
import time

from benchmarks import growth_inputs, inputs
from benchmarks.growth import MB, TOLD, Curve, Limit, Measure, Point
from benchmarks.jobs import nothing
from benchmarks.rows import HERE
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits

QUICK_SHARE = 1000  # a quick run has so much less of text and records
TEXT_BYTES = 1024 * MB  # in 16 files of 64 MB
RECORD_BYTES = 1000 * MB  # in 4 files
START_BYTES = MB  # of text: little enough that a job of it is start-up
RISE = 15  # percent, of the seconds per MB
SLOT_MB = 600  # of memory for each slot
TASKS_PER_S = 3000
START_SHARE = 0.1  # of a job's seconds: where its start takes more, they say little of the work
LONG = 2048 * MB  # a larger input is timed once: minutes average over what disturbs a turn


def job(name, *options, reducers=None, split_size=None, cluster=False):
    """One of the engine's jobs, as a program runs it."""

    def command(asked):
        paths = [HERE / "jobs" / name, asked.folder, asked.output, asked.output.with_name(TOLD)]
        given = ["--slots", asked.slots, *options]
        given += ["--reducers", reducers] if reducers else []
        given += ["--split-size", split_size] if split_size else []
        given += ["--cluster", asked.output.parent] if cluster else []
        return [sys.executable, "-P", HERE / "run_job.py", *paths, *given]

    return command


def made(name, maker, *, quick, **size):
    """What makes an input in the work folder."""
    name = f"growth-{name}{'-quick' if quick else ''}"
    return lambda work: inputs.make(work, name, maker, **size, version=growth_inputs.VERSION)


def linked(name, maker, total, files, copies, *, quick):
    """What makes an input of the first files of another, so many times each."""
    total = total // QUICK_SHARE if quick else total
    base = made(name, maker, quick=quick, size=total)

    def make(work):
        options = {"base": base(work), "of": total, "files": files, "copies": copies, "quick": quick}
        return made(f"{name}-{files}x{copies}", growth_inputs.linked, **options)(work)

    return make


def text(files, copies=1, *, quick):
    """Text: files of 64 MB (64 KB if quick)."""
    return linked("text", growth_inputs.texts, TEXT_BYTES, files, copies, quick=quick)


def records(files, copies=1, *, quick):
    """Records to be sorted: files of 250 MB (250 KB if quick)."""
    return linked("records", growth_inputs.records, RECORD_BYTES, files, copies, quick=quick)


# ---- measures


def per_mb(found, _outcome=None):
    """Milliseconds for a megabyte."""
    return 1000 * found.seconds / (found.size / MB)


def peak_per_slot(found, outcome):
    """Megabytes for each slot."""
    return found.sampled and found.sampled.peak_bytes / MB / outcome.slots


def of_first(found, outcome):
    """The seconds, of those of the first point."""
    first = outcome.points[0]
    return found.seconds / first.seconds if first.timed else None


def per_pair(found, _outcome):
    """Kilobytes that a map task has for a reduce task, as they lie on disk: what its blocks have at most."""
    return found.said("shuffle_bytes") / (found.said("maps") * found.said("reduces")) / 1000


def per_second(found, _outcome):
    """Tasks a second, in the run on workers that wait for it."""
    return (found.said("maps") + found.said("reduces")) / found.said("seconds")


def said(name):
    """What the engine said."""
    return lambda found, _outcome: found.said(name)


SECONDS = Measure("s", lambda found, _: [run.seconds for run in found.timed], 2)
DRAWN_SECONDS = dataclasses.replace(SECONDS, drawn=True)
PER_SLOT = Measure("peak memory, MB a slot", peak_per_slot, drawn=True, line=lambda _: SLOT_MB)
SHUFFLED = Measure("shuffled, MB", lambda found, _: found.said("shuffle_bytes") / MB, 1)
PER_PAIR = Measure("KB for each map and reducer", per_pair, 2)
MAPS, REDUCES = Measure("maps", said("maps")), Measure("reducers", said("reduces"))

# ---- limits


def peak_limit():
    """What the slots may have."""

    def most(outcome):
        peaks = [peak_per_slot(found, outcome) for found in outcome.known() if found.sampled]
        return max(peaks, default=None)

    return Limit("peak memory, the most of a point", most, at_most=SLOT_MB, unit=" MB a slot")


def first_worked(outcome):
    """The first point whose seconds are work for the most part, by those of the first of all, a start-up."""
    start, *others = outcome.points
    if not start.timed:
        return None
    return next((found for found in others if found.timed and start.seconds <= START_SHARE * found.seconds), None)


def charted(outcome, place):
    """The first (0) or last (-1) point of the chart, None if it has not been timed."""
    found = [found for found in outcome.points if found.at is not None][place]
    return found if found.timed else None


def rise(first, outcome):
    """By how many percent the seconds per megabyte rise from a point to the last."""
    last = charted(outcome, -1)
    if first is None or last is None or first is last:
        return None
    return 100 * (per_mb(last) / per_mb(first) - 1)


def most_per_mb(outcome):
    """The milliseconds that a megabyte may take, by the first point of the chart."""
    first = charted(outcome, 0)
    return first and per_mb(first) * (1 + RISE / 100)


# ---- points


def input_points(quick):
    """Word count over more and more text; the first is mostly start-up."""
    command = job("word_count_keys.py")
    start = linked("start", growth_inputs.texts, START_BYTES, growth_inputs.FILES, 1, quick=False)
    sizes = [(4, 1), (16, 1)] if quick else [(1, 1), (4, 1), (16, 1), (16, 4), (16, 8)]
    points = [] if quick else [Point("1 MB", None, start, command)]
    return points + [sized(text(*size, quick=quick), 64 * size[0] * size[1], command, quick=quick) for size in sizes]


def sized(made_by, megabytes, command, *, quick):
    """A point for an input of so many megabytes, of kilobytes in a quick run."""
    small, large = ("KB", "MB") if quick else ("MB", "GB")
    label = f"{megabytes} {small}" if megabytes < 1000 else f"{megabytes / 1000:.2g} {large}"
    return Point(label, megabytes, made_by, command, 1 if megabytes * MB > LONG else None)


def sort_points(quick):
    """TeraSort over more and more records."""
    command = job("terasort.py")
    sizes = [(1, 1), (4, 1)] if quick else [(1, 1), (4, 1), (4, 2), (4, 4)]
    return [sized(records(*size, quick=quick), 250 * size[0] * size[1], command, quick=quick) for size in sizes]


def split_bytes(maps, *, quick):
    """The split size that cuts 4 files of the text into so many splits."""
    size = TEXT_BYTES // growth_inputs.FILES // (QUICK_SHARE if quick else 1)
    return -(-size * 4 // maps)


def word_count(label, at, *, quick, reducers=None, maps=None):
    """Word count over 4 files of the text, cut so."""
    split_size = None if maps is None else split_bytes(maps, quick=quick)
    command = job("word_count_keys.py", reducers=reducers, split_size=split_size)
    return Point(label, at, text(4, quick=quick), command)


def reducer_points(quick):
    """More and more reducers, the same maps."""
    numbers = [1, 20] if quick else [1, 10, 100, 1000]
    return [word_count(f"{number:,}", number, quick=quick, reducers=number) for number in numbers]


def map_points(quick):
    """More and more maps, the same reducers."""
    numbers = [8, 40] if quick else [8, 100, 500, 2000]
    return [word_count(f"{number:,}", number, quick=quick, reducers=4, maps=number) for number in numbers]


def grid_points(quick):
    """More and more of both."""
    numbers = [8, 20] if quick else [8, 100, 400, 1000]
    return [
        word_count(f"{number:,} x {number:,}", number, quick=quick, reducers=number, maps=number) for number in numbers
    ]


def task_points(quick):
    """More and more tasks that do nothing, with the journal on a disk; and some on the embedded cluster."""
    numbers = [50, 200] if quick else [1000, 3000, 10_000, 30_000]
    length = nothing.LENGTH
    points = []
    for number in [*numbers, *([] if quick else [10_000])]:
        embedded = len(points) == len(numbers)
        size = {"records": number, "length": length}
        label = f"{number:,}, embedded (journal in memory)" if embedded else f"{number:,}"
        command = job("nothing.py", reducers=1, split_size=length, cluster=not embedded)
        where = made(f"blank-{number}", growth_inputs.blank, quick=quick, **size)
        points.append(Point(label, None if embedded else number, where, command))
    return points


SHAPES = {  # all have 260 MB, in 8 files but for the last; a record has a key of 10 bytes, one of 100,000, and 88 more
    "ordinary": {},
    "half of all records have one key": {"hot": 0.5},
    "keys of 10 KB": {"lines": 25_700, "keys": 2570, "key_bytes": 10_000},
    "values of 10 MB": {"lines": 26, "files": 13, "keys": 20, "value_bytes": 10 * MB},
    "200,000 tiny files": {"files": 200_000},
}
ORDINARY = {"lines": 2_600_000, "files": 8, "keys": 100_000, "key_bytes": 10, "value_bytes": 88}
QUICK_SHAPE_SHARE = 400  # a quick run has so much less of each of these, but of what is small anyway
QUICK_SHAPES = ("lines", "keys", "files", "value_bytes")
SMALL = 100


def shape_points(quick):
    """The same bytes in other shapes, each grouped by key."""
    points = []
    for number, label in enumerate(SHAPES):
        where = made(f"shape-{number}", growth_inputs.pairs, quick=quick, **shape_size(label, quick=quick))
        points.append(Point(label, None, where, job("by_key.py")))
    return points


def shape_size(label, *, quick):
    """The sizes of a shape."""
    sizes = {**ORDINARY, **SHAPES[label]}
    if not quick:
        return sizes
    fewer = {name for name in QUICK_SHAPES if sizes[name] > SMALL}
    return {name: value // QUICK_SHAPE_SHARE if name in fewer else value for name, value in sizes.items()}


def planned(folder):
    """How many splits the planner makes of an input, and how long that takes it."""
    begin = time.perf_counter()
    files = find_inputs([str(folder)])
    splits = plan_splits(files)
    return {"files": len(files), "splits": len(splits), "planned_s": time.perf_counter() - begin}


def looked(name):
    """What was looked at beside the run."""
    return lambda found, _outcome: found.looked[name]


def journalled_rate(outcome):
    """Tasks a second of the point of 10,000."""
    found = outcome.get("10,000")
    return found and per_second(found, outcome)


CURVES = [
    Curve(
        "input",
        "Input",
        "Word count (`keys=str.split`, `Count()`). Up to 1 GB the text is all different; more is the same 1 GB under "
        "several names, so the number of distinct words grows up to there. The first line is mostly start-up.",
        "input",
        input_points,
        [
            SECONDS,
            Measure("ms for a MB", per_mb, 2, drawn=True, line=most_per_mb),
            PER_SLOT,
            MAPS,
            REDUCES,
            SHUFFLED,
        ],
        [
            Limit(
                "seconds per MB, from the first point of the chart to its last",
                lambda out: rise(charted(out, 0), out),
                at_most=RISE,
                unit=" %",
            ),
            Limit(
                "the same from the first point that start-up takes a tenth of, at most",
                lambda out: rise(first_worked(out), out),
                at_most=RISE,
                unit=" %",
            ),
            peak_limit(),
        ],
    ),
    Curve(
        "sort",
        "Input that is all shuffled",
        "TeraSort: every byte goes through the shuffle. Up to 1 GB the records are all different; more is the same "
        "1 GB under several names.",
        "input",
        sort_points,
        [SECONDS, Measure("ms for a MB", per_mb, 2, drawn=True), PER_SLOT, MAPS, REDUCES, SHUFFLED],
        [peak_limit()],
        functools.partial(growth_inputs.check, found_in=growth_inputs.of_lines),
    ),
    Curve(
        "reducers",
        "Reducers",
        "Word count of 256 MB, as it is cut by itself.",
        "reducers",
        reducer_points,
        [DRAWN_SECONDS, Measure("of the first", of_first, 2), PER_SLOT, MAPS, SHUFFLED, PER_PAIR],
    ),
    Curve(
        "maps",
        "Maps",
        "Word count of 256 MB, with 4 reducers. Each map gives each of its distinct words once, so more maps shuffle "
        "more.",
        "maps",
        map_points,
        [DRAWN_SECONDS, Measure("of the first", of_first, 2), PER_SLOT, MAPS, SHUFFLED, PER_PAIR],
    ),
    Curve(
        "grid",
        "Maps and reducers",
        "Word count of 256 MB. A block has records of one map and one reducer: its mean size is at most what the last "
        "column says.",
        "maps, and as many reducers",
        grid_points,
        [DRAWN_SECONDS, Measure("of the first", of_first, 2), PER_SLOT, MAPS, REDUCES, SHUFFLED, PER_PAIR],
    ),
    Curve(
        "tasks",
        "Tasks",
        "Map tasks of one record that do nothing, and one reduce task. A coordinator with its journal on the disk, "
        "flushed before it answers, and a worker run beforehand; the second column is what the job takes there, from "
        "the call to its result.",
        "map tasks",
        task_points,
        [
            SECONDS,
            Measure("s of the job", said("seconds"), 2),
            Measure("tasks a second", per_second, drawn=True, line=lambda _: TASKS_PER_S),
            PER_SLOT,
        ],
        [Limit("10,000 tasks with the journal on", journalled_rate, at_least=TASKS_PER_S, unit=" a second")],
    ),
    Curve(
        "shapes",
        "Shapes",
        "260 MB of keys and values, grouped by a plain Python reducer: as many bytes in each shape. The ordinary one "
        "has 2.6 million lines of 100 bytes and 100,000 keys, in 8 files.",
        "",
        shape_points,
        [
            SECONDS,
            Measure("of the first", of_first, 2, drawn=True),
            PER_SLOT,
            Measure("files", looked("files")),
            Measure("splits", looked("splits")),
            Measure("s of planning", looked("planned_s"), 2),
            SHUFFLED,
        ],
        [peak_limit()],
        look=planned,
    ),
]
