"""A failed job ends with a command that runs the failed task again, here, and stops at the user's line."""

import re
import shutil
import subprocess
import sys

import pytest
from cluster import environment, mapreduce, wait_for
from everywhere import run_everywhere

import mapreduce as engine
from mapreduce.failed import history
from mapreduce.notebook_errors import cell_traceback

JOB = """\
from mapreduce import Job, Step


def words(line, *, ctx, bad: str = ""):
    ctx.counters["lines"] += 1
    for word in line.split():
        if word == bad:
            raise ValueError(f"not a word: {word}")
        yield word, len(word)


def total(word, lengths):
    yield word, sum(lengths)


def by_length(word, length):
    yield length, word


def gather(length, words, *, ctx, wrong: int = 0):
    found = sorted(words)
    yield length, [found, 100 // (length - wrong), ctx.previous.counters["lines"]]


job = Job(steps=[Step(words, reducer=total), Step(by_length, reducer=gather)])
"""
TEXT = "to be or not\nto be that\nis the question\n"


PROGRAM = """\
import sys

import mapreduce

LIMIT = 3
source, output, address = sys.argv[1:]


def mapper(line):
    assert len(line.split()) > LIMIT, line
    yield line, 1


handle = mapreduce.submit(mapreduce.Job(mapper), [source], output, coordinator=address)
try:
    handle.wait()
except mapreduce.JobFailed:
    print(handle.id)
"""


@pytest.fixture
def here(tmp_path):
    """A folder with the job and a text of three lines, each a split."""
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    (tmp_path / "in.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def failed(*arguments, cwd, **env):
    """Run a command that must end with exit code 1; gives its stderr."""
    done = mapreduce(*arguments, cwd=cwd, check=False, **env)
    assert done.returncode == 1, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "/cli/" not in done.stderr
    return done.stderr


def command_of(said):
    """The command that a failed job's message ends with, as words."""
    (found,) = re.findall(r"^  run that task again, here:  mapreduce (.*)$", said, re.MULTILINE)
    return found.split()


def story_of(said):
    """The user's traceback with function, place, key and record: all but the worker and how often it was tried."""
    return said[said.index("Traceback") :].split("  task: ")[0].splitlines()


@pytest.mark.parametrize("how", ["run", "run -r inline", "submit"])
def test_the_command_of_a_failed_job_shows_the_same_failure_here(here, cluster, how):
    """However the job was run, the copied command tells the same story, and leaves the output folder alone."""
    env = {"MAPREDUCE_COORDINATOR": cluster.address}
    options = ["job.py", here / "in.txt", "-o", here / "out", "--split-size", "14", "-p", "bad=that"]
    said = failed(*how.split(), *options, cwd=here, **env)
    assert "in.txt, byte 13" in said
    assert ("  worker: " in said) is (how == "submit")
    command = command_of(said)
    assert command[-1] == "--pdb"
    again = failed(*command[:-1], cwd=here)
    assert story_of(again) == story_of(said)
    assert "task: map 1" in again
    assert not (here / "out").exists()


@pytest.mark.parametrize("runner", ["inline", "local", "cluster"])
def test_the_failed_key_of_a_later_step_is_replayed_first(here, cluster, runner):
    """For a reduce task of step 2 what it reads is made here, with its parameters, and its key comes first."""
    where = {"coordinator": cluster.address} if runner == "cluster" else {}
    options = {"params": {"wrong": 4}, "reducers": 2, "split_size": 14}
    with pytest.raises(engine.JobFailed) as told:
        engine.run(f"{here}/job.py", [here / "in.txt"], here / "out", runner=runner, **where, **options)
    assert told.value.task.endswith("of step 2")
    again = failed("replay", told.value.job, cwd="/")
    assert re.search("what it reads is made first: [25] map tasks and 2 reduce tasks", again)
    assert "the key 4 comes first" in again
    assert story_of(again) == story_of(str(told.value))
    assert "100 // (length - wrong)" in again


def test_map_results_that_the_failed_run_has_left_are_not_made_again(here):
    """A replayed reduce task reads what maps have left on this machine; without that they run here first."""
    (here / "counting.py").write_text(
        "import os\n\ndef mapper(line, *, touched):\n    os.close(os.open(touched, os.O_CREAT))\n    yield line, 1\n\n"
        "def reducer(line, ones):\n    raise ValueError(line)\n",
        encoding="utf-8",
    )
    (here / "tmp").mkdir()
    touched, env = here / "touched", {"cwd": here, "TMPDIR": str(here / "tmp")}
    failed("run", "counting.py", "in.txt", "--split-size", "14", "-p", f"touched={touched}", **env)
    touched.unlink()
    again = failed("replay", "last", **env)
    assert "3 map results are those that the failed run has left here" in again
    assert not touched.exists()
    for left in (here / "tmp").glob("*/saved"):
        shutil.rmtree(left)
    assert story_of(failed("replay", "last", **env)) == story_of(again)
    assert touched.exists()


def test_the_debugger_stops_at_the_users_line(here):
    """With --pdb the user's frame is there, with its variables, at the failing line."""
    said = failed("run", "job.py", "in.txt", "-p", "bad=question", cwd=here)
    done = mapreduce(*command_of(said), cwd=here, check=False, stdin="p word, line\nq\n")
    assert done.returncode == 1
    assert "(Pdb) ('question', 'is the question')" in done.stdout
    assert 'raise ValueError(f"not a word: {word}")' in done.stdout


def test_a_task_that_does_not_fail_says_what_it_emits(here, cluster):
    """Any task can be named; what it emits is what it contributes to a good run, in every runner."""
    good = run_everywhere(f"{here}/job.py", [here / "in.txt"], here / "good", cluster.address, reducers=2)
    failed("run", "job.py", "in.txt", "-o", "out", "--reducers", "2", "-p", "wrong=8", cwd=here)
    with_eight = next(number for number in (0, 1) if "\n8\t" in "\n" + part(good, number))
    other = 1 - with_eight
    done = mapreduce("replay", "last", "reduce", str(other), "of", "step", "2", cwd=here)
    shown = done.stdout.splitlines()
    assert shown[0].startswith(f"reduce {other} of step 2 succeeded here: ")
    lengths = [line.partition("\t")[0] for line in part(good, other).splitlines()]
    assert [line.partition("\t")[0] for line in shown if "\t" in line] == lengths
    assert not (here / "out").exists()


def part(result, number):
    return (result.output / f"part-{number:05d}").read_text(encoding="utf-8")


def test_the_code_is_what_ran_and_not_what_lies_there_now(here):
    """After an edit the replay still fails as the job did, shows the old lines, and says which file has changed."""
    said = failed("run", "job.py", "in.txt", "-p", "bad=be", cwd=here)
    (here / "job.py").write_text("def mapper(line):\n    yield line, 1\n", encoding="utf-8")
    again = failed("replay", "last", cwd=here)
    assert story_of(again) == story_of(said)
    assert f"changed since then, and not used here: {here}/job.py" in again


def test_files_sets_and_relative_paths_are_as_they_were(here):
    """A replay has the files that travelled, the hash seed of task processes, and the folder of the run."""
    (here / "order.py").write_text(
        "from pathlib import Path\n\ndef mapper(line, *, ctx):\n"
        "    words = list(set(line.split()))\n"
        '    raise ValueError(f\'{words} {ctx.files["side"].read_text()} {Path("near.txt").read_text()}\')\n',
        encoding="utf-8",
    )
    (here / "near.txt").write_text("near", encoding="utf-8")
    (here / "gone.txt").write_text("beside", encoding="utf-8")
    said = failed("run", "order.py", "in.txt", "--file", "side=gone.txt", "--split-size", "14", cwd=here)
    (here / "gone.txt").unlink()
    again = failed("replay", "last", cwd="/")
    assert story_of(again) == story_of(said)
    assert "beside near" in again


def test_a_failure_by_chance_is_called_one(here):
    """A task that succeeds in its replay says so with what it emits, and what the failure must have depended on."""
    (here / "once.py").write_text(
        "import os\n\ndef mapper(line):\n    if not os.path.exists('flag'):\n"
        "        open('flag', 'w').close()\n        raise OSError('no luck')\n    yield line, 1\n",
        encoding="utf-8",
    )
    said = failed("run", "once.py", "in.txt", cwd=here)
    done = mapreduce(*command_of(said), cwd=here)
    assert done.stdout.startswith("map 0 succeeded here: 3 records in, 3 records out\n")
    assert "'is the question'\t1\n" in done.stdout
    assert "it failed with: OSError: no luck" in done.stderr
    assert "chance" in done.stderr


def test_a_crash_happens_here_too_and_names_the_line(here):
    """A task whose process died is replayed to the same end, with the user's line from the crash."""
    (here / "crash.py").write_text(
        "import os\n\ndef mapper(line):\n    os.abort()\n    yield line, 1\n", encoding="utf-8"
    )
    said = failed("run", "crash.py", "in.txt", "-r", "local", cwd=here)
    done = mapreduce(*command_of(said), cwd=here, check=False)
    assert done.returncode == -6
    assert 'crash.py", line 4 in mapper' in done.stderr


def test_a_job_made_in_a_program_is_replayed_with_what_travelled(here, cluster):
    """A job of `__main__`, with what it closes over, fails alike in the replay of its handle's id."""
    (here / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, here / "program.py", here / "in.txt", here / "out", cluster.address],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    again = failed("replay", done.stdout.strip(), cwd="/")
    assert "assert len(line.split()) > LIMIT, line" in again
    assert "AssertionError: to be that" in again


def test_a_clusters_job_is_kept_from_its_submission_to_its_good_end(here, cluster):
    """Handed over with --detach it is kept; a client that sees it done, or cancelled, has it forgotten."""
    job = cluster.run("submit", f"{here}/job.py", here / "in.txt", "-o", here / "out", "--detach").stdout.strip()
    assert history.find(job).asked.target == f"{here}/job.py"
    assert history.find(job).failure is None
    cluster.run("status", job, "--wait")
    assert not history.has_entry(job)


def test_the_coordinator_is_asked_how_a_job_failed_that_nobody_followed(here, cluster):
    """A detached job's failure is fetched for its replay, which needs no task to be named."""
    submitted = ("submit", f"{here}/job.py", here / "in.txt", "-o", here / "out", "--detach", "-p", "bad=be")
    job = cluster.run(*submitted).stdout.strip()
    wait_for(lambda: cluster.states().get(job) == "failed", "it fails")
    assert history.find(job).failure is None
    assert "not a word: be" in failed("replay", job, cwd="/")
    assert command_of(cluster.run("status", job).stdout) == ["replay", job, "--pdb"]


def test_standard_input_is_said_to_be_gone(here):
    """A job over standard input cannot be replayed, and its message and the command say why."""
    done = mapreduce("run", "job.py", "-", "-p", "bad=be", cwd=here, check=False, stdin=TEXT)
    assert done.returncode == 1
    assert "standard input went with the run" in done.stderr
    assert "mapreduce replay" not in done.stderr
    refused = mapreduce("replay", "last", cwd=here, check=False)
    assert refused.returncode == 2
    assert "standard input went with the program that ran it" in refused.stderr


def test_a_replay_stops_at_the_first_bad_record(here):
    """In a job with --max-bad that had too many, the replayed task puts none aside; the tasks before it do."""
    (here / "in.txt").write_text("1\nx\n2\ny\n", encoding="utf-8")
    (here / "whole.py").write_text(
        "def mapper(line):\n    yield int(line), 1\n\ndef reducer(n, ones):\n    yield n, 1 // (n - 2)\n",
        encoding="utf-8",
    )
    said = failed("run", "whole.py", "in.txt", "--max-bad", "1", cwd=here)
    assert "record: 'y'" in said
    assert "record: 'x'" in failed(*command_of(said)[:-1], cwd=here)
    said = failed("run", "whole.py", "in.txt", "--max-bad", "2", cwd=here)
    assert "key: 2" in failed(*command_of(said)[:-1], cwd=here)


def test_a_job_of_warm_workers_is_kept_like_any_other(here):
    """What fails on a Cluster of this machine can be replayed; what does well leaves nothing behind."""
    with engine.Cluster(1) as workers:
        good = workers.run(f"{here}/job.py", [here / "in.txt"])
        with pytest.raises(engine.JobFailed) as told:
            workers.run(f"{here}/job.py", [here / "in.txt"], params={"bad": "be"})
    assert not history.has_entry(good.id)
    entry = history.find(told.value.job)
    assert (entry.asked.runner, entry.asked.output, entry.asked.options) == ("local", "", {"params": {"bad": "be"}})
    assert entry.failure == told.value.failure


def test_an_input_that_has_changed_is_named(here):
    """The input must be what it was: a file that was edited meanwhile is an error of its own."""
    failed("run", "job.py", "in.txt", "-p", "bad=be", cwd=here)
    (here / "in.txt").write_text("something else entirely\n", encoding="utf-8")
    job = history.find().job
    again = failed("replay", "last", cwd=here)
    assert re.match(rf"replaying map 0 of {job} \(job\), which failed at [-:\d ]{{19}} in {here}, with the code", again)
    assert "in.txt changed since the job was planned: it had" in again
    assert "Run the job again" not in again
    assert again.endswith(f"  run the job on the files as they are now:  mapreduce resume {job}\n")


def test_a_cell_ends_with_the_command_too(here):
    """What a notebook shows of a failed job has the command before the line that ran it."""
    with pytest.raises(engine.JobFailed) as told:
        engine.run(f"{here}/job.py", [here / "in.txt"], here / "out", runner="inline", params={"bad": "be"})
    lines = cell_traceback(told.value)
    assert f"  run that task again, here:  mapreduce replay {told.value.job} --pdb" in lines
    assert "replay" not in str(told.value)


def test_a_replay_without_a_line_of_the_users_offers_no_debugger(here):
    """Where the task fails before it comes to the user's code, as without its input, there is no line to stop at."""
    failed("run", "job.py", "in.txt", "-p", "bad=be", cwd=here)
    (here / "in.txt").unlink()
    again = failed("replay", "last", cwd=here)
    assert "cannot be opened" in again
    assert "--pdb" not in again
