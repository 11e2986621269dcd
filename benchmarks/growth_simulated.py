"""The coordinator with a simulated cluster, in the report: what `coordinator_scale` has found."""

import json

from benchmarks import coordinator_scale

SIMULATED = "coordinator"  # its name among the curves
EVENT_MS = 20  # the 99th percentile of an event's cost, at most
MEMORY_MB = 500
TITLE = "Simulated cluster"
COLUMNS = {  # of the table, with the figures' names and digits
    "tasks": ("tasks", 0),
    "workers": ("workers", 0),
    "events": ("events", 0),
    "mean, ms": ("mean_us", 3),
    "p50, ms": ("p50_ms", 3),
    "p99, ms": ("p99_ms", 3),
    "most, ms": ("max_ms", 1),
    "tasks a second": ("tasks_per_s", 0),
    "peak memory, MB": ("peak_mb", 0),
}


def simulated(stored, *, quick, again):
    """The figures of each case, found now or as they are stored; None if there are none."""
    path = stored / f"growth-{SIMULATED}.json"
    if again:
        print(SIMULATED)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coordinator_scale.run(quick)))
    return json.loads(path.read_text()) if path.exists() else None


def limits(figures):
    """The lines of the table of bounds."""
    text = []
    bounds = [("p99_ms", EVENT_MS, "ms", "99th percentile of an event's cost"), ("peak_mb", MEMORY_MB, "MB", "memory")]
    for figure, most, unit, title in bounds:
        found = max(case[figure] for case in figures.values())
        met = "met" if found <= most else "**not met**"
        text.append(f"| {TITLE} | {title}, the most of a case | {found:,.2f} {unit} | at most {most} {unit} | {met} |")
    return text


def table(figures):
    """The section: a line for each case."""
    text = [
        f"### {TITLE}",
        "",
        "The coordinator's core and its journal on the disk, with simulated workers that answer at once or after",
        "simulated time. An event costs what the core takes for it, and its share of the journal's commit.",
        "",
        " | ".join(["| job", *COLUMNS]) + " |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for name, case in figures.items():
        cells = [f"{case[key] / (1000 if key.endswith('_us') else 1):,.{digits}f}" for key, digits in COLUMNS.values()]
        text.append(" | ".join([f"| {name}", *cells]) + " |")
    return text
