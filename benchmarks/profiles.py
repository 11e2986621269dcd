"""Where the time of the engine's jobs goes: py-spy looks at all processes, and each look is put down to a stage.

A sample is a thread that runs, in whatever process. Its phase is the kind of task, or else the process; its stage is
that of the innermost of its frames that belongs to one, so that Polars, NumPy and the standard library count for the
part of the engine that has called them.
"""

import collections
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import empty, make_input
from benchmarks.rows import HERE, Asked
from benchmarks.version import moment

RATE = 100  # looks a second: more would slow the job itself
SHOWN = 8  # functions of a phase
PHASE_SHARE = 0.05  # of all samples: of smaller phases no functions are shown
FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")

INTRODUCTION = f"""## Where the time goes

py-spy looked at all processes of the engine {RATE} times a second, which slows them. CPU s are of all processes; a look
counts for the innermost part of the engine on the stack, and for the user's functions if that is theirs.
"""

WAITS = {  # innermost functions that py-spy takes for running while they wait
    "DiskThread._work",
    "EpollSelector.select",
    "Poller.poll",
    "Popen._wait",
    "PollSelector.select",
    "TaskLink.receive",
}
USERS = {path.name for path in (HERE / "jobs").glob("*.py")}
TASKS = "mapreduce/dataflow/tasks/task.py"
PHASES = {"run_map": "map tasks", "run_reduce": "reduce tasks", "run_commit": "commit"}  # functions of that module
PROCESSES = {  # what a process's command line says
    "workers.agent": "agent",
    "mapreduce.coordinator": "coordinator",
    "workers.shuffle": "shuffle server",
    "workers.fork_main": "task processes, besides tasks",
}
STAGES = [  # the first that fits a frame's file
    ("<frozen importlib", "imports"),
    ("mapreduce/dataflow/inputs/", "read"),
    ("mapreduce/dataflow/readers/", "read"),
    ("mapreduce/dataflow/stores/", "read"),
    ("mapreduce/dataflow/tasks/map_task.py", "loop around the mapper"),
    ("mapreduce/dataflow/tasks/emit", "loop around the mapper"),
    ("mapreduce/dataflow/tasks/tallying.py", "loop around the mapper"),
    ("mapreduce/dataflow/tasks/kernels.py", "fold"),
    ("mapreduce/dataflow/tasks/fold.py", "fold"),
    ("mapreduce/dataflow/tasks/combine.py", "combine"),
    ("mapreduce/dataflow/tasks/reduce_task.py", "reduce loops"),
    ("mapreduce/dataflow/tasks/frame_", "reduce loops"),
    ("mapreduce/dataflow/tasks/join_task.py", "reduce loops"),
    ("mapreduce/dataflow/tasks/cogroup.py", "reduce loops"),
    ("mapreduce/dataflow/columns/sorting.py", "sort"),
    ("mapreduce/dataflow/columns/tally.py", "count equal pairs"),
    ("mapreduce/dataflow/columns/", "records to columns"),
    ("mapreduce/dataflow/shuffle/sort_buffer.py", "sort"),
    ("mapreduce/dataflow/shuffle/partition.py", "sort"),
    ("mapreduce/dataflow/shuffle/block_", "runs: pack, write, unpack"),
    ("mapreduce/dataflow/shuffle/small_blocks.py", "runs: pack, write, unpack"),
    ("mapreduce/dataflow/shuffle/", "merge"),
    ("mapreduce/dataflow/outputs/", "write output"),
    ("mapreduce/dataflow/manifest/", "write output"),
    ("workers/shuffle_", "fetch"),
]


def in_engine(file):
    """The part of a path that begins with the engine's package, or "" of another file."""
    for package in ("mapreduce/", "workers/"):
        place = file.rfind(f"/{package}")
        if file.startswith(package) or place >= 0:
            return file[place + 1 :]
    return ""


def stage(files):
    """The stage of the innermost frame that has one."""
    for file in reversed(files):
        name = file if file.startswith("<frozen importlib") else in_engine(file)
        if not name and Path(file).name in USERS:
            return "the user's functions"
        for prefix, found in STAGES:
            if name.startswith(prefix):
                return found
    return "other"


def judged(line):
    """Of a line of py-spy's: the phase, the stage, the innermost function, the samples; no samples of a wait."""
    stack, _, samples = line.rpartition(" ")
    parts = stack.split(";")
    commands = [part for part in parts if part.startswith("process ")]
    # An embedded cluster's fork server is a copy of its agent: so it has the same command line.
    is_copy = sum("workers.agent" in part for part in commands) > 1
    command = "workers.fork_main" if is_copy else commands[-1]
    found = [match for part in parts if not part.startswith("process ") and (match := FRAME.match(part))]
    files = [match["file"] for match in found]
    tasks = [match["function"] for match in found if match["file"].endswith(TASKS)]
    phase = next((PHASES[function] for function in tasks if function in PHASES), "")
    phase = phase or next((name for key, name in PROCESSES.items() if key in command), "client")
    inner = f"{found[-1]['function']} ({found[-1]['file']})" if found else "?"
    waits = found and found[-1]["function"] in WAITS
    return phase, stage(files), inner, 0 if waits else int(samples)


def table(lines):
    """Two tables in Markdown: the stages of each phase, and where most of the phase's samples were."""
    stages, functions = collections.Counter(), collections.Counter()
    for line in lines:
        phase, name, inner, samples = judged(line)
        stages[phase, name] += samples
        functions[phase, inner] += samples
    total = stages.total() or 1
    phases = collections.Counter()
    for (phase, _), samples in stages.items():
        phases[phase] += samples
    text = ["| phase | stage | CPU s | share |", "|---|---|---|---|"]
    for phase, whole in phases.most_common():
        text.append(f"| **{phase}** | | {whole / RATE:.1f} | {whole / total:.0%} |")
        inside = [(name, samples) for (where, name), samples in stages.most_common() if where == phase]
        text += [f"| | {name} | {samples / RATE:.1f} | {samples / total:.0%} |" for name, samples in inside]
    text += ["", "| phase | function | own s |", "|---|---|---|"]
    for phase in [name for name, whole in phases.most_common() if whole >= total * PHASE_SHARE]:
        inside = [(name, samples) for (where, name), samples in functions.most_common() if where == phase]
        text += [f"| {phase} | `{name}` | {samples / RATE:.1f} |" for name, samples in inside[:SHOWN]]
    return "\n".join(text)


def profile(row, options):
    """Run each of the row's engine jobs under py-spy; give the tables in Markdown."""
    spy = shutil.which("py-spy", path=Path(sys.executable).parent) or shutil.which("py-spy")
    if not spy:
        sys.exit("benchmarks: a profile needs py-spy: pip install -e '.[benchmarks]'")
    folder, size = make_input(row, options)
    place = options.work / "run"
    place.mkdir(parents=True, exist_ok=True)
    sizes = ", ".join(f"{key} {value:,}" for key, value in size.items())
    text = [f"### {row.title}", "", f"Input: {sizes}. Run on {moment()}."]
    for contestant in row.contestants:
        if contestant.name.startswith("engine") and (not options.only or contestant.name in options.only):
            output, raw = place / "output", place / "stacks.txt"
            empty(output)
            command = contestant.command(Asked(folder, output, options.slots))
            record = [
                spy,
                "record",
                "--subprocesses",
                "--format",
                "raw",
                "--rate",
                RATE,
                "--output",
                raw,
                "--",
                *command,
            ]
            done = subprocess.run([*map(str, record)], cwd=place, capture_output=True, text=True, check=False)
            if done.returncode or not raw.exists():
                sys.exit(f"benchmarks: py-spy or the job failed:\n{done.stdout}{done.stderr}")
            text += ["", f"#### {contestant.name}", "", table(raw.read_text("utf-8").splitlines())]
            empty(output)
    return "\n".join(text) + "\n"


def store(text, folder, row):
    """Keep a profile for a later report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"profile-{row.name}.md").write_text(text, encoding="utf-8")


def stored(folder, rows):
    """The part of the report: the profiles that were kept of these rows; "" if there are none."""
    paths = [folder / f"profile-{row.name}.md" for row in rows]
    found = [path.read_text("utf-8") for path in paths if path.exists()]
    return "\n".join([INTRODUCTION, *found]) if found else ""
