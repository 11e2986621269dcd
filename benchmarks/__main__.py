"""The command line of the benchmarks."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import growth, growth_report, profiles, report
from benchmarks.contest import Contest, Options, Outcome
from benchmarks.growth_curves import CURVES
from benchmarks.growth_simulated import SIMULATED, simulated
from benchmarks.rows import ROWS

TURNS = 3
WORK = Path(__file__).parents[1] / "build" / "benchmarks"


def parse(arguments):
    """What is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="The engine beside its peers, in turns.")
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="small inputs, quick peers, one turn: about a minute")
    parser.add_argument("--row", action="append", choices=names, help="only this row; may be given several times")
    curves = [*(curve.name for curve in CURVES), SIMULATED]
    only = f"only these curves, or all of them and no rows: {', '.join(curves)}"
    parser.add_argument("--growth", nargs="*", choices=curves, metavar="NAME", help=only)
    parser.add_argument("--contestant", action="append", default=[], help="only these; may be given several times")
    parser.add_argument("--runs", type=int, help=f"turns (default: {TURNS}; quick: 1)")
    parser.add_argument("--no-memory", action="store_true", help="leave out the run that samples memory")
    parser.add_argument("--slots", type=int, default=len(os.sched_getaffinity(0)), help="processes of each contestant")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="text files in place of the made ones")
    parser.add_argument("--work", type=Path, default=WORK, help=f"inputs and results are kept here (default: {WORK})")
    parser.add_argument("--report", type=Path, help="write the table to this Markdown file, and a chart beside it")
    parser.add_argument("--stored", action="store_true", help="run nothing: report what earlier runs have stored")
    parser.add_argument("--list", action="store_true", help="show rows and contestants")
    parser.add_argument("--profile", choices=names, help="where the time of the engine's job goes, by stage")
    return parser.parse_args(arguments)


def chosen(asked):
    """The rows, and the names of the curves: all of both, unless some of either are named."""
    rows = [row for row in ROWS if row.name in asked.row] if asked.row else list(ROWS)
    curves = asked.growth or [*(curve.name for curve in CURVES), SIMULATED]
    if asked.growth is not None:
        return (rows if asked.row else []), curves
    return rows, ([] if asked.row or asked.contestant or asked.texts else curves)


def run_rows(rows, options, stored, *, again):
    """The rows with their outcomes, run now or (not `again`) as they are stored."""
    outcomes = []
    for row in rows:
        outcome = Contest(row, options).run() if again else Outcome.stored(stored, row.name)
        if outcome:
            outcome.store(stored)
            outcomes.append((row, outcome))
    return outcomes


def run_curves(names, options, stored, *, again):
    """The curves of these names with their outcomes, likewise."""
    outcomes = []
    for curve in CURVES:
        if curve.name not in names:
            continue
        outcome = growth.Growth(curve, options).run() if again else growth.Outcome.stored(stored, curve.name)
        if outcome:
            outcome.store(stored)
            outcomes.append((curve, outcome))
    return outcomes


def listed(rows, curves):
    """Rows and contestants, with what is missing for them; curves."""
    for row in rows:
        print(f"{row.name}: {row.title}")
        for contestant in row.contestants:
            missing = contestant.missing()
            print(f"    {contestant.name}{f' ({missing})' if missing else ''}")
    print(f"growth: {', '.join(curves)}")


def main(arguments):
    """Run what is asked for; 1 if a result was wrong or a contestant failed."""
    asked = parse(arguments)
    rows, curves = chosen(asked)
    if asked.list:
        listed(rows, curves)
        return 0
    known = {contestant.name for row in ROWS for contestant in row.contestants}
    if unknown := set(asked.contestant) - known:
        sys.exit(f"benchmarks: there is no contestant {', '.join(unknown)}; --list shows them")
    turns = asked.runs or (1 if asked.quick else TURNS)
    memory = not (asked.no_memory or asked.quick)
    only, texts = tuple(asked.contestant), tuple(path.resolve() for path in asked.texts)
    options = Options(asked.work.resolve(), asked.slots, turns, asked.quick, memory, only, texts)
    stored = options.work / ("results-quick" if asked.quick else "results")
    if asked.profile:
        row = next(row for row in ROWS if row.name == asked.profile)
        found = profiles.profile(row, options)
        profiles.store(found, stored, row)
        print(found)
        return 0
    again = not asked.stored
    outcomes = run_rows(rows, options, stored, again=again)
    grown = run_curves(curves, options, stored, again=again)
    figures = simulated(stored, quick=asked.quick, again=again) if SIMULATED in curves else None
    there = [row for row, _ in outcomes], [curve.name for curve, _ in grown] + [SIMULATED] * bool(figures)
    lists = zip((rows, curves), there, strict=True)
    missing = report.not_run(*([one for one in wanted if one not in found] for wanted, found in lists))
    text = report.markdown(outcomes, options, missing)
    charts = asked.report and asked.report.with_suffix(".growth.svg")
    if grown or figures:
        text += "\n" + growth_report.markdown(grown, figures, charts and charts.name)
    if profiled := profiles.stored(stored, rows):
        text += "\n" + profiled
    if asked.report:
        chart = asked.report.with_suffix(".svg")
        if outcomes:
            chart.write_text(report.chart(outcomes), encoding="utf-8")
            text = report.with_chart(text, chart.name)
        if grown:
            charts.write_text(growth_report.charts(grown), encoding="utf-8")
        asked.report.write_text(text, encoding="utf-8")
    print("\n" + text)
    wrong = any(runs.faults for _, outcome in outcomes for runs in outcome.runs.values())
    return int(wrong or any(found.faults for _, outcome in grown for found in outcome.points))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
