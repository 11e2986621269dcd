"""The command line of the benchmarks."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import profiles, report
from benchmarks.contest import Contest, Options, Outcome
from benchmarks.rows import ROWS

TURNS = 3
WORK = Path(__file__).parents[1] / "build" / "benchmarks"


def parse(arguments):
    """What is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="The engine beside its peers, in turns.")
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="small inputs, quick peers, one turn: about a minute")
    parser.add_argument("--row", action="append", choices=names, help="only this row; may be given several times")
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


def listed(rows):
    """Rows and contestants, with what is missing for them."""
    for row in rows:
        print(f"{row.name}: {row.title}")
        for contestant in row.contestants:
            missing = contestant.missing()
            print(f"    {contestant.name}{f' ({missing})' if missing else ''}")


def main(arguments):
    """Run what is asked for; 1 if a result was wrong or a contestant failed."""
    asked = parse(arguments)
    rows = [row for row in ROWS if not asked.row or row.name in asked.row]
    if asked.list:
        listed(rows)
        return 0
    known = {contestant.name for row in rows for contestant in row.contestants}
    if unknown := set(asked.contestant) - known:
        sys.exit(f"benchmarks: there is no contestant {', '.join(unknown)}; --list shows them")
    turns = asked.runs or (1 if asked.quick else TURNS)
    memory = not (asked.no_memory or asked.quick)
    only, texts = tuple(asked.contestant), tuple(path.resolve() for path in asked.texts)
    options = Options(asked.work.resolve(), asked.slots, turns, asked.quick, memory, only, texts)
    if asked.profile:
        print(profiles.profile(next(row for row in ROWS if row.name == asked.profile), options))
        return 0
    stored = options.work / ("results-quick" if asked.quick else "results")
    outcomes = []
    for row in rows:
        if asked.stored:
            outcome = Outcome.stored(stored, row.name)
        else:
            outcome = Contest(row, options).run()
            outcome.store(stored)
        if outcome:
            outcomes.append((row, outcome))
    text = report.markdown(outcomes, options)
    if asked.report:
        chart = asked.report.with_suffix(".svg")
        chart.write_text(report.chart(outcomes), encoding="utf-8")
        asked.report.write_text(text + f"\n![Seconds of each contestant]({chart.name})\n", encoding="utf-8")
    print("\n" + text)
    return int(any(runs.faults for _, outcome in outcomes for runs in outcome.runs.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
