"""The harness of the benchmarks measures what is there, and sees when a result is another."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cluster import wait_for

from benchmarks import contest, digests, inputs, measure, profiles, report, rows, version

MB = 1 << 20
# Until whoever measures, its parent, has read so much more in /proc that it has looked at all processes meanwhile.
HOLDS_200_MB = f"""
import os, time
begin = time.monotonic()
def reads():
    return int(open(f"/proc/{{os.getppid()}}/io").read().split("syscr: ")[1].split()[0])
held = b"x" * {200 * MB}
enough = reads() + 100
while reads() < enough:
    pass
print(time.monotonic() - begin)
"""
DETACHES = f"""
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
sum(range(10_000_000))
with open(sys.argv[1], "wb") as file:
    file.write(bytes({20 * MB}))
"""
COMMAND = ["sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 600"]
LOGS = "stdout='out', stderr='err'"
STAYS = "import os, time; os.fork() or (os.setsid(), time.sleep(600))"


def measured(tmp_path, program, *arguments, **options):
    """A Python program, measured."""
    logs = {"stdout": tmp_path / "stdout", "stderr": tmp_path / "stderr"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return measure.measured(command, limit_s=60, cwd=tmp_path, **logs, **options)


def test_the_peak_of_memory_is_that_of_all_processes_together(tmp_path):
    """200 MB that a child holds for a moment are in the peak, and without sampling there is none."""
    found = measured(tmp_path, HOLDS_200_MB, sample=True)
    assert 200 * MB < found.peak_bytes < 260 * MB
    assert found.seconds > float((tmp_path / "stdout").read_text())
    assert measured(tmp_path, "pass").peak_bytes is None


def test_what_a_detached_grandchild_uses_is_counted(tmp_path):
    """The processor time and the bytes written of a daemon are in the figures, though its parents have ended."""
    found = measured(tmp_path, DETACHES, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 20 * MB
    assert found.left == []
    assert found.cpu_s > measured(tmp_path, "pass").cpu_s
    on_disk = found.written_bytes > 0  # a folder in memory counts nothing
    assert not on_disk or 20 * MB <= found.written_bytes < 25 * MB


def test_what_stays_is_told_and_killed(tmp_path, monkeypatch):
    """A process that outlives its command is named, and gone afterwards."""
    program = Path(measure.__file__).read_text(encoding="utf-8").replace("LEFT_S = 15.0", "LEFT_S = 0.2")
    (tmp_path / "measure.py").write_text(program, encoding="utf-8")
    monkeypatch.setattr(measure, "__file__", str(tmp_path / "measure.py"))
    found = measured(tmp_path, STAYS)
    assert found.code == 0
    (left,) = found.left
    assert "time.sleep(600)" in left
    assert not Path(f"/proc/{left.split()[0]}").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_harness_dies(tmp_path, number):
    """A harness that is killed, alone or with its process group, takes what it measures with it."""
    program = f"from benchmarks import measure; measure.measured({COMMAND!r}, limit_s=60, cwd='.', {LOGS})"
    started = {"cwd": tmp_path, "env": {"PYTHONPATH": str(rows.HERE.parent)}, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", program], **started) as harness:
        wait_for((tmp_path / "pid").exists, "the measured command has started")
        command = Path("/proc") / (tmp_path / "pid").read_text().strip()
        assert command.exists()
        kill = os.kill if number == signal.SIGKILL else os.killpg
        kill(harness.pid, number)
    wait_for(lambda: not command.exists(), "the measured command has ended")
    assert harness.returncode != 0


def written(folder, **files):
    """A folder of such files."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_digest_knows_lines_whatever_their_order_and_files(tmp_path):
    """The same lines in other files and another order are no difference; another line is."""
    one = written(tmp_path / "one", part_0="a\t1\nb\t2\n", part_1="c\t3\n")
    other = tmp_path / "other"
    other.write_text("c\t3\na\t1\nb\t2\n")
    digest = digests.of_lines(one)
    assert not digests.of_lines(other).differs(digest)
    other.write_text("c\t3\na\t2\nb\t1\n")
    assert digests.of_lines(other).differs(digest) == "other lines"
    other.write_text("c\t3\na\t1\n")
    assert digests.of_lines(other).differs(digest) == "2 lines of 8 bytes, not 3 of 12"


def test_a_digest_of_long_outputs_takes_chunks(tmp_path, monkeypatch):
    """Where chunks end changes nothing."""
    path = tmp_path / "long"
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    whole = digests.of_lines(path)
    monkeypatch.setattr(digests, "CHUNK", 37)
    assert digests.of_lines(path) == whole
    assert whole.lines == 1000


@pytest.mark.parametrize(("first", "second", "fault"), [("b", "a", "part_1: not in order"), ("a", "b", "")])
def test_sorted_outputs_must_be_in_order_over_all_files(tmp_path, first, second, fault):
    """A file that begins below the end of the one before is a fault."""
    folder = written(tmp_path / "out", part_0=f"{first * 12}\n" * 3, part_1=f"{second * 12}\n" * 2)
    assert digests.of_sorted(folder).fault == fault


def test_records_out_of_order_within_a_file_are_a_fault(tmp_path):
    """The tenth byte of a key counts, the eleventh does not."""
    path = tmp_path / "out"
    path.write_text("aaaaaaaaaac\naaaaaaaaaab\n")
    assert not digests.of_sorted(path).fault
    path.write_text("aaaaaaaaabc\naaaaaaaaaac\n")
    assert digests.of_sorted(path).fault == "out: not in order"


def test_numbers_are_compared_with_a_tolerance(tmp_path):
    """Columns and JSON objects with numbers that differ in their last digits are equal; others are not."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("Oslo\t-1.5\t2.0000000001\t7\n")
    other.write_text('Oslo\t{"min":-1.5,"mean":2.0,"max":7.0}\n')
    assert not digests.of_numbers(one).differs(digests.of_numbers(other))
    other.write_text('Oslo\t{"min":-1.5,"mean":2.1,"max":7.0}\n')
    assert digests.of_numbers(one).differs(digests.of_numbers(other)).startswith("Oslo: ")


def test_inputs_are_the_same_bytes_each_time_and_kept(tmp_path):
    """An input is made from a seed, kept, and made again if its size is another or it is not whole."""
    folder = inputs.make(tmp_path, "records", inputs.sort_records, records=1000)
    path = folder / "records.txt"
    data, made = path.read_bytes(), path.stat().st_mtime_ns
    assert len(data) == 100_000
    assert set(map(len, data.splitlines(keepends=True))) == {100}
    inputs.make(tmp_path, "records", inputs.sort_records, records=1000)
    assert path.stat().st_mtime_ns == made
    (folder / "_made.json").unlink()
    path.write_bytes(b"half")
    inputs.make(tmp_path, "records", inputs.sort_records, records=1000)
    assert path.read_bytes() == data
    inputs.make(tmp_path, "records", inputs.sort_records, records=10)
    assert path.stat().st_size == 1000


def test_words_come_as_often_as_they_are_to(tmp_path):
    """Lines of 6 to 14 words, but where a chunk ends; single spaces; files that have the size together."""
    rng, words = np.random.default_rng(1), ["a", "few", "words"]
    inputs.write_words(tmp_path, rng, words, lambda number: rng.integers(0, 3, number), size=60_000, files=3)
    texts = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert 59_000 < sum(map(len, texts)) <= 60_000
    assert all(re.fullmatch(r"(?:(?:a|few|words)[ \n])+", text) for text in texts)
    lengths = [len(line.split(" ")) for text in texts for line in text.splitlines()]
    assert set(range(6, 15)) <= set(lengths) <= set(range(1, 15))
    assert sum(length < 6 for length in lengths) < len(lengths) / 50


def writes(text):
    """A contestant's command that writes this as its output."""
    return lambda asked: ["sh", "-c", f"printf '{text}' > {asked.output}"]


def nothing(folder, _rng):
    """An input without files."""
    assert folder.exists()


@pytest.fixture
def outcome(tmp_path):
    """A row of three: one right, one wrong, one that is not installed, and one that fails."""
    contestants = [
        rows.Contestant("right", writes(r"b\na\n")),
        rows.Contestant("engine", writes(r"a\nb\n"), needs=("sh",)),
        rows.Contestant("wrong", writes(r"a\nc\n")),
        rows.Contestant("absent", writes(""), needs=("no_such_module",)),
        rows.Contestant("fails", lambda _: ["sh", "-c", "echo this is why >&2; exit 3"]),
        rows.Contestant("slow", writes(r"a\nb\n"), turns=1),
    ]
    bounds = [rows.Bound("engine", "right", 1000.0), rows.Bound("engine", "absent", 0.5)]
    row = rows.Row("some", "some work", nothing, {}, {}, contestants, bounds, digests.of_lines)
    options = contest.Options(tmp_path, slots=1, turns=2)
    return row, contest.Contest(row, options, say=lambda _: None).run(), options


def test_every_result_is_checked(outcome):
    """A contestant with another result than the first one's is at fault, as is one that fails; both say how."""
    _, found, _ = outcome
    assert len(found.runs["right"].timed) == len(found.runs["engine"].timed) == 2
    assert found.runs["engine"].faults == []
    assert found.runs["engine"].sampled.peak_bytes is not None
    assert all(run.peak_bytes is None for run in found.runs["engine"].timed)
    assert found.runs["slow"].timed == [found.runs["slow"].sampled]
    assert found.runs["wrong"].timed == []
    assert found.runs["wrong"].faults == ["a wrong result: other lines"] * 2
    assert found.runs["absent"].not_run == "no_such_module is not installed"
    assert found.runs["fails"].faults[0] == "exit code 3: this is why"


def test_the_report_says_all_of_it(outcome, tmp_path):
    """Bounds with ratios, contestants that did not run with the reason, faults; the same from what was stored."""
    row, found, options = outcome
    found.store(tmp_path / "results")
    missing = report.not_run([row], ["input"])
    text = report.markdown([(row, contest.Outcome.stored(tmp_path / "results", "some"))], options, missing)
    assert f"Not run for this report: {row.title}; the curve of input." in text
    assert report.not_run([], []) == ""
    assert re.search(r"\| some work \| engine \| right \| \d+\.\d\d \(.*\) \| 1000.00 \| met \|", text)
    assert "| some work | engine | absent | not measured | 0.50 |  |" in text
    assert "| absent | not run: no_such_module is not installed |" in text
    assert "- wrong: a wrong result: other lines" in text
    assert f"Run on {version.today()}" in text
    assert ">engine</text>" in report.chart([(row, found)])


def test_ratios_have_the_spread_of_their_turns():
    """The ratio is of the medians; the spread that of turns that both have run."""
    timed = {"ours": (1.0, 2.0, 6.0), "theirs": (2.0, 4.0, 4.0), "once": (4.0,)}
    runs = {
        name: contest.Runs([measure.Measured(0, second, 0, 0, None, []) for second in seconds])
        for name, seconds in timed.items()
    }
    found = contest.Outcome("row", {}, runs)
    assert found.ratio("ours", "theirs") == (0.5, 0.5, 1.5)
    assert found.ratio("ours", "once") == (0.5, 0.25, 0.25)
    assert found.ratio("ours", "nobody") is None


def test_every_row_has_programs_and_bounds_between_contestants(tmp_path):
    """The scripts of all rows are there, names are not given twice, and bounds name contestants."""
    written(tmp_path / "orders", table="")
    written(tmp_path / "users", table="")
    for row in rows.ROWS:
        names = [contestant.name for contestant in row.contestants]
        assert len(set(names)) == len(names)
        assert all(bound.contestant in names and bound.peer in names for bound in row.all_bounds())
        for contestant in row.contestants:
            program, *words = contestant.command(rows.Asked(tmp_path, tmp_path / "out", 2))
            scripts = [word for word in words if isinstance(word, Path) and word.is_relative_to(rows.HERE)]
            assert all(script.exists() for script in scripts)
            assert scripts or shutil.which(program)


FORKED = 'process 1:"a";process 2:"python -m workers.fork_main"'
MAPS = FORKED + ";run_map (/x/mapreduce/dataflow/tasks/task.py:1)"
COPY = 'process 1:"a";process 3:"python -m workers.agent";process 4:"python -m workers.agent"'
STACKS = [
    'process 1:"python -m mapreduce run";<module> (mapreduce/__main__.py:5);_find (<frozen importlib._bootstrap>:9) 3',
    f"{MAPS};take (/x/mapreduce/dataflow/tasks/emit.py:2);mapper (word_count_pairs.py:6) 50",
    f"{MAPS};sort (mapreduce/dataflow/columns/sorting.py:2);Series.sort (polars/series/series.py:7) 40",
    'process 1:"a";process 3:"python -m workers.agent";run (workers/agent_shell.py:3);Poller.poll (zmq/poll.py:1) 70',
    f"{COPY};serve (workers/fork_server.py:4) 0",
]


def test_a_profile_puts_samples_down_to_stages():
    """A sample counts for the innermost frame that has a stage; waits count for nothing."""
    found = [profiles.judged(line) for line in STACKS]
    assert [(phase, stage, samples) for phase, stage, _, samples in found] == [
        ("client", "imports", 3),
        ("map tasks", "the user's functions", 50),
        ("map tasks", "sort", 40),
        ("agent", "other", 0),
        ("task processes, besides tasks", "other", 0),
    ]
    text = profiles.table(STACKS)
    assert "| **map tasks** | | 0.9 | 97% |" in text
    assert "| map tasks | `Series.sort (polars/series/series.py)` | 0.4 |" in text


def test_profiles_are_kept_for_the_report(tmp_path):
    """The report has those that were stored of its rows, in the rows' order; without any it says nothing of them."""
    first, second = rows.ROWS[:2]
    assert profiles.stored(tmp_path, rows.ROWS) == ""
    profiles.store("### second\n", tmp_path, second)
    profiles.store("### first\n", tmp_path, first)
    text = profiles.stored(tmp_path, rows.ROWS)
    assert text.startswith("## Where the time goes\n")
    assert text.endswith("### first\n\n### second\n")
    assert "### second" not in profiles.stored(tmp_path, [first])
