"""What was measured, as a table in Markdown and a chart in SVG."""

import html
import importlib.metadata
import importlib.util
import os
import platform
import re
import statistics
from pathlib import Path

from benchmarks.version import first_line, today

MB = 1 << 20
PACKAGES = ("polars", "numpy", "duckdb", "pyspark", "dask", "ray", "mrjob")
BAR_HEIGHT, BAR_WIDTH, LABEL_WIDTH, NUMBER_WIDTH = 18, 420, 220, 110  # of the chart, in pixels
ROWS_TITLE = "## Rows"
MINE, OTHERS, INK = "#1f77b4", "#b8b8b8", "#333333"


def versions():
    """What took part, as text."""
    found = [
        f"Python {platform.python_version()}",
        f"mapreduce-engine {importlib.metadata.version('mapreduce-engine')}",
    ]
    found += [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if importlib.util.find_spec(name)]
    others = {
        "Java": first_line(["java", "-version"], r'version "([^"]+)"'),
        "GNU sort": first_line(["sort", "--version"], r"(\d\S*)"),
    }
    return ", ".join(found + [f"{name} {version}" for name, version in others.items() if version])


def machine():
    """The machine, as text."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    name = model.group(1) if model else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, Linux {platform.release()}"


def spread(values, digits):
    """A median with the least and the most of it."""
    shown = f"{statistics.median(values):.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def shown_ratio(ratio):
    """A ratio with its spread."""
    value, least, most = ratio
    return f"{value:.2f}" if least == most else f"{value:.2f} ({least:.2f}-{most:.2f})"


def verdict(ratio, at_most):
    """Whether a bound is met."""
    return "met" if ratio[0] <= at_most else "**not met**"


def bounds_table(outcomes):
    """All bounds, those of the table first."""
    text = ["| work | contestant | against | ratio (spread of turns) | at most | |", "|---|---|---|---|---|---|"]
    for row, outcome in outcomes:
        for bound in row.all_bounds():
            ratio = outcome.ratio(bound.contestant, bound.peer)
            found = shown_ratio(ratio) if ratio else "not measured"
            met = verdict(ratio, bound.at_most) if ratio else ""
            text.append(f"| {row.title} | {bound.contestant} | {bound.peer} | {found} | {bound.at_most:.2f} | {met} |")
    return text


def row_table(row, outcome):
    """Every contestant of a row."""
    size = ", ".join(f"{key} {value:,}" for key, value in outcome.size.items())
    source = f"; text: {outcome.source}" if outcome.source else ""
    text = [f"### {row.title}", "", f"Input: {size}{source}. Run on {outcome.when}.", ""]
    first = next((name for name, runs in outcome.runs.items() if runs.timed), None)
    text.append(f"| program | s | of {first} | CPU s | peak memory, MB | written, MB | turns |")
    text.append("|---|---|---|---|---|---|---|")
    notes = []
    for name, runs in outcome.runs.items():
        notes += [f"- {name}: {fault}" for fault in runs.faults]
        if not runs.timed:
            text.append(f"| {name} | {'failed' if runs.faults else f'not run: {runs.not_run}'} | | | | | |")
            continue
        peak = f"{runs.sampled.peak_bytes / MB:.0f}" if runs.sampled else ""
        if runs.sampled and row.memory_mb and name.startswith("engine"):
            met = "met" if runs.sampled.peak_bytes <= row.memory_mb * MB else "**not met**"
            peak += f" (at most {row.memory_mb}: {met})"
        cpu = statistics.median(run.cpu_s for run in runs.timed)
        written = statistics.median(run.written_bytes for run in runs.timed) / MB
        ratio = shown_ratio(outcome.ratio(name, first))
        seconds = spread(runs.seconds(), 2)
        text.append(f"| {name} | {seconds} | {ratio} | {cpu:.1f} | {peak} | {written:.0f} | {len(runs.timed)} |")
    text += ["", row.limits] if row.limits else []
    return [*text, *(["", "Faults:", "", *notes] if notes else [])]


def not_run(rows, curves):
    """What the report has nothing of, though it was asked for."""
    missing = [row.title for row in rows] + [f"the curve of {curve}" for curve in curves]
    return f"Not run for this report: {'; '.join(missing)}." if missing else ""


def markdown(outcomes, options, missing=""):
    """The whole report; `missing` is as of `not_run`."""
    quick = ["", "This was a quick run: small inputs, so mostly start-up. Bounds and sizes in text are of full ones."]
    slots = options.slots
    text = [
        "# Benchmarks",
        "",
        f"{today()}. {machine()}. {versions()}.",
        "",
        f"Whole processes, start-up included, {slots} processes or threads each, in turns. Seconds are medians,",
        "with the least and the most; ratios are of medians, with the least and the most of a turn. Every result was",
        "compared with that of the first program. Peak memory is the largest sum of the proportional set sizes of",
        "all processes, in a run of its own; of programs that take minutes, and so have one turn, in that turn.",
        "Written is what was given to disks, temporary files included. CPU leaves out processes that nobody has waited",
        "for, which are most of Ray's and some of Spark's.",
        *(quick if options.quick else []),
        *(["", missing] if missing else []),
    ]
    if outcomes:
        text += ["", "## Bounds", "", *bounds_table(outcomes), "", ROWS_TITLE]
    for row, outcome in outcomes:
        text += ["", *row_table(row, outcome)]
    return "\n".join(text) + "\n"


def with_chart(text, name):
    """The report with the chart of the rows at their beginning."""
    return text.replace(f"\n{ROWS_TITLE}\n", f"\n{ROWS_TITLE}\n\n![Seconds of each contestant]({name})\n", 1)


def bars(row, outcome, top):
    """The bars of a row from a height on; the elements, and the height below them."""
    seconds = {name: statistics.median(runs.seconds()) for name, runs in outcome.runs.items() if runs.timed}
    most = max(seconds.values(), default=1)
    found = [f'<text x="4" y="{top + 16}" font-weight="bold">{html.escape(row.title)}</text>']
    top += 26
    for name, value in seconds.items():
        colour = MINE if name.startswith("engine") else OTHERS
        width = max(1, BAR_WIDTH * value / most)
        found.append(f'<text x="{LABEL_WIDTH - 6}" y="{top + 13}" text-anchor="end">{html.escape(name)}</text>')
        place = f'x="{LABEL_WIDTH}" y="{top + 2}" width="{width:.1f}" height="{BAR_HEIGHT - 4}"'
        found.append(f'<rect {place} fill="{colour}"/>')
        found.append(f'<text x="{LABEL_WIDTH + width + 6:.1f}" y="{top + 13}">{value:.2f} s</text>')
        top += BAR_HEIGHT
    return found, top + 14


def chart(outcomes):
    """A group of bars for each row: the seconds of each contestant, the engine's in colour."""
    body, top = [], 6
    for row, outcome in outcomes:
        found, top = bars(row, outcome, top)
        body += found
    width = LABEL_WIDTH + BAR_WIDTH + NUMBER_WIDTH
    size = f'width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect {size} fill="white"/>', f'<g fill="{INK}">', *body, "</g>", "</svg>", ""])
