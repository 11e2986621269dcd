"""`mapreduce resume`: a job that fails at ninety percent, mended and run again, runs no map task a second time."""

import json
import os
import re
import shutil
import signal

import pytest
from cluster import Cluster, wait_for
from cluster import mapreduce as command
from everywhere import bytes_of

import mapreduce
from mapreduce.failed import history

MAPS = 24
JOB = '''
from pathlib import Path
from mapreduce import Job

FACTOR = 1

class Mapper:
    """Leaves a mark for each attempt in the folder `seen`."""
    def __init__(self, *, ctx, seen: str):
        with Path(seen, ctx.task).open("a") as file:
            file.write("x")
        self.counters = ctx.counters
    def __call__(self, line):
        self.counters["lines"] += 1
        yield int(line) % 10, int(line) * FACTOR

def place(key, partitions):
    return key % partitions

def reducer(key, values):
    if key == 9:
        raise ValueError("a bug")
    yield key, sum(values)

job = Job(Mapper, partitioner=place, reducer=reducer)
'''
MENDED = JOB.replace('raise ValueError("a bug")', "key = 99")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a job, its input in so many files that there are 24 map tasks, and places for marks and scratch."""
    for name in ("in", "seen", "tmp", "clean"):
        (tmp_path / name).mkdir()
    for n in range(MAPS):
        (tmp_path / "in" / f"{n:02}").write_text("".join(f"{number}\n" for number in range(n * 100, n * 100 + 100)))
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def options(here):
    size = (here / "in" / "05").stat().st_size
    return {"params": {"seen": str(here / "seen")}, "split_size": size, "reducers": 10}


def attempts(here):
    """How often each map task was begun."""
    return {path.name: path.stat().st_size for path in (here / "seen").iterdir()}


def fail(here, **more):
    with pytest.raises(mapreduce.JobFailed, match="a bug") as failure:
        mapreduce.run("job.py", "in", "out", slots=2, **options(here), **more)
    return failure.value


def clean(here):
    """The bytes of a run that never failed."""
    wanted = options(here) | {"params": {"seen": str(here / "clean")}}
    return bytes_of(mapreduce.run("job.py", "in", "wanted", slots=2, **wanted).output)


def test_a_mended_reducer_runs_no_map_again(here):
    """Local: all map results are kept, the command says so, and the output is that of a clean run, byte by byte."""
    failure = fail(here)
    begun = attempts(here)
    assert len(begun) >= 20
    maps = len(begun)
    assert f"{maps} of {maps} map results are kept for 7 days (" in str(failure)
    assert str(failure).endswith(f"/saved):  mapreduce resume {failure.job}")
    (here / "job.py").write_text(MENDED)
    done = command("resume", "last", cwd=here)
    assert re.match(rf"resuming {failure.job} \(job\), which failed at [-:\d ]{{19}} in {here}\n", done.stderr)
    assert f"resumed {failure.job}: reducer edited: {maps} of {maps} maps kept" in done.stderr
    assert "lines = 2,400" in done.stderr
    assert attempts(here) == begun
    assert bytes_of("out") == clean(here)
    assert not list((here / "tmp").glob("mapreduce-worker-*/saved/*"))
    assert "no failed job is kept" in command("resume", "last", cwd=here, check=False).stderr
    again = command("resume", failure.job, cwd=here, check=False)
    assert again.returncode == 2
    assert f"{failure.job} was resumed as {job_at(here / 'out')}, which is done" in again.stderr


def job_at(output):
    return json.loads((output / "_job.json").read_text())["job"]


def test_a_chain_of_resumptions_ends_with_nothing_left(here):
    """A resumed job that fails is resumed with what both have left; when that is done all of it goes."""
    first = fail(here)
    begun = attempts(here)
    with pytest.raises(mapreduce.JobFailed, match="a bug"):
        mapreduce.resume()
    (saved,) = (here / "tmp").glob("mapreduce-worker-*/saved")
    second = history.find()
    assert second.chain == (second.job, first.job)
    shutil.rmtree(saved / second.job)
    (here / "job.py").write_text(MENDED)
    mapreduce.resume()
    assert attempts(here) == begun
    assert bytes_of("out") == clean(here)
    assert list(saved.iterdir()) == []
    assert list(history.folder().iterdir()) == []


def test_maps_that_left_no_result_are_said_to_have_left_none(here):
    """A map that failed, or that never ran, is no map whose results are gone."""
    (here / "in" / "23").write_text("no number\n")
    arguments = ("run", "job.py", "in", "-o", "out", "-r", "inline", "-p", f"seen={here / 'seen'}")
    failed = command(*arguments, "--split-size", options(here)["split_size"], cwd=here, check=False)
    left, maps = map(int, re.search(r"(\d+) of (\d+) map results are kept", failed.stderr).groups())
    assert left < maps
    (here / "job.py").write_text(MENDED)
    done = command("resume", "last", "--max-bad", "1", cwd=here)
    assert f"reducer edited: {left} of {maps} maps kept, {maps - left} run, which had left no result\n" in done.stderr


def test_an_edited_mapper_runs_all_maps_again(here):
    """A constant that the mapper reads has changed: nothing is used; and a resumed job can fail and be resumed."""
    fail(here)
    maps = len(attempts(here))
    (here / "job.py").write_text(JOB.replace("FACTOR = 1", "FACTOR = 2"))
    with pytest.raises(mapreduce.JobFailed, match="a bug"):
        mapreduce.resume()
    assert set(attempts(here).values()) == {2}
    (here / "job.py").write_text(MENDED.replace("FACTOR = 1", "FACTOR = 2"))
    result = mapreduce.resume("last", reducers=10)
    assert set(attempts(here).values()) == {2}
    assert bytes_of(result.output) == clean(here)
    assert result.counters == {"lines": 100 * MAPS}
    assert maps == len(attempts(here))


def test_other_options_take_the_place_of_those_given_before(here):
    """Another number of reducers changes what maps write: they run again, and the parts are as many as asked for."""
    fail(here)
    (here / "job.py").write_text(MENDED)
    done = command("resume", "job", "--reducers", 3, cwd=here)
    assert "reducer edited, reduce tasks changed" in done.stderr
    assert "maps run again" in done.stderr
    assert len(list((here / "out").glob("part-*"))) == 3
    assert set(attempts(here).values()) == {2}


def test_inline_runs_keep_and_use_map_results(here):
    """In one process: what failed there is resumed there."""
    size = options(here)["split_size"]
    arguments = ("run", "job.py", "in", "-o", "out", "-r", "inline", "--reducers", 10, "--split-size", size)
    failed = command(*arguments, "-p", f"seen={here / 'seen'}", cwd=here, check=False)
    assert failed.returncode == 1
    assert "map results are kept for 7 days" in failed.stderr
    (here / "job.py").write_text(MENDED)
    done = command("resume", "last", cwd=here)
    maps = len(attempts(here))
    assert f"reducer edited: {maps} of {maps} maps kept" in done.stderr
    assert set(attempts(here).values()) == {1}
    assert bytes_of("out") == clean(here)


def test_a_job_of_a_program_is_resumed_with_a_mended_job(here):
    """A Job made in a program is given anew: what its mapper reaches decides, not where it was made."""

    def mapper(line):
        yield int(line) % 10, 1

    def bad(key, values):
        raise ValueError("a bug")

    def good(key, values):
        yield key, sum(values)

    with pytest.raises(mapreduce.JobFailed, match="a bug"):
        mapreduce.run(mapreduce.Job(mapper, reducer=bad), "in", slots=1)
    with pytest.raises(mapreduce.UsageError, match="say what is to be run in its place, job="):
        mapreduce.resume()
    result = mapreduce.resume(job=mapreduce.Job(mapper, reducer=good))
    assert sorted(result) == [(n, 240) for n in range(10)]


def test_a_cluster_keeps_map_results_through_the_death_of_its_workers(here, tmp_path):
    """Over tcp: workers die between failure and resumption, and some results are damaged or gone: only these run."""
    with Cluster(tmp_path / "tmp") as cluster:
        workers = [cluster.start_worker(slots=1, cwd=here) for _ in range(2)]
        failure = fail_on(here, cluster)
        maps = len(attempts(here))
        begun = attempts(here)
        status = cluster.run("status", failure.job).stdout
        assert f"{maps} of {maps} map results are kept for 7 days (" in status
        saved = tmp_path / "tmp" / "scratch" / "saved" / failure.job
        wait_for(lambda: saved.is_dir() and len(list(saved.iterdir())) == maps, "the workers have saved the results")
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        keys = sorted(saved.iterdir())
        shutil.rmtree(keys[0])
        with (keys[1] / "run-0").open("r+b") as file:
            file.seek(30)
            file.write(b"\0\0\0\0\0")
        cluster.start_worker(slots=2, cwd=here)
        (here / "job.py").write_text(MENDED)
        done = cluster.run("resume", failure.job, cwd=here)
        assert f"reducer edited: {maps - 2} of {maps} maps kept, 2 run again" in done.stderr
        assert sum(attempts(here).values()) == sum(begun.values()) + 2
        wait_for(lambda: not saved.exists(), "what was saved is dropped")
    assert bytes_of("out") == clean(here)


def fail_on(here, cluster):
    with pytest.raises(mapreduce.JobFailed, match="a bug") as failure:
        mapreduce.run("job.py", "in", "out", runner="cluster", coordinator=cluster.address, **options(here))
    assert "on the workers" in str(failure.value)
    return failure.value


def test_a_job_that_has_not_failed_is_not_resumed(here, tmp_path):
    """Over tcp: one that runs is left alone, with no advice to remove its output, and one that is done is done."""
    (here / "job.py").write_text(MENDED)
    with Cluster(tmp_path / "tmp") as cluster:
        submitted = ("submit", "job.py", "in", "-o", "out", "-p", f"seen={here / 'seen'}", "--detach")
        job = cluster.run(*submitted, cwd=here).stdout.strip()
        waits = cluster.run("resume", job, cwd=here, check=False)
        assert waits.returncode == 2
        assert "only a job that has failed is resumed" in waits.stderr
        cluster.start_worker(slots=2, cwd=here)
        wait_for(lambda: cluster.states().get(job) == "done", "it is done")
        done = cluster.run("resume", job, cwd=here, check=False)
        assert done.returncode == 2
        assert f"{job} is done: there is nothing to resume" in done.stderr
    gone = cluster.run("resume", job, cwd=here, check=False)
    assert gone.returncode == 2
    assert "no failed job" in gone.stderr


def test_another_output_folder_may_be_named(here):
    """Where the folder has been taken meanwhile, another is named, relative to where that is said."""
    fail(here)
    (here / "job.py").write_text(MENDED)
    (here / "out").mkdir()
    (here / "out" / "mine").write_text("x")
    refused = command("resume", "last", cwd=here, check=False)
    assert refused.returncode == 2
    assert "is not empty (it holds mine)" in refused.stderr
    done = command("resume", "last", "-o", "else", cwd=here / "clean")
    assert "maps kept" in done.stderr
    (here / "clean" / "else").rename(here / "else")
    assert bytes_of("else") == clean(here)
    assert [path.name for path in (here / "out").iterdir()] == ["mine"]


def test_an_input_that_has_changed_is_said_to_have(here):
    """Maps that run again although no code has changed: it is said why that may be."""
    fail(here)
    (here / "job.py").write_text(MENDED)
    path = here / "in" / "03"
    path.write_text(path.read_text().replace("300", "301"))
    done = command("resume", "last", cwd=here)
    maps = len(attempts(here))
    again = "1 run again, whose input has changed or whose results are gone"
    assert f"reducer edited: {maps - 1} of {maps} maps kept, {again}" in done.stderr


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_results_that_cannot_be_saved_do_not_hide_the_failure(here, runner):
    """Where others can write to the folder for saved results none are put there, and none are promised."""
    scratch = here / "tmp" / f"mapreduce-worker-{os.getuid()}"
    scratch.mkdir()
    scratch.chmod(0o777)
    arguments = ("run", "job.py", "in", "-o", "out", "-r", runner, "-p", f"seen={here / 'seen'}")
    failed = command(*arguments, cwd=here, check=False)
    assert failed.returncode == 1
    assert "ValueError: a bug" in failed.stderr
    assert "/inline.py" not in failed.stderr
    assert "map results are kept for 7 days" not in failed.stderr
    assert ("its map results could not be kept" in failed.stderr) is (runner == "inline")


def test_a_failing_run_sweeps_what_older_ones_have_left(here):
    """In one process too: what failed a week ago goes when the next job fails."""
    arguments = ("run", "job.py", "in", "-o", "out", "-r", "inline", "-p", f"seen={here / 'seen'}")
    command(*arguments, cwd=here, check=False)
    (old,) = (here / "tmp").glob("mapreduce-worker-*/saved/*")
    os.utime(old, (0, 0))
    command(*arguments, cwd=here, check=False)
    (new,) = (here / "tmp").glob("mapreduce-worker-*/saved/*")
    assert new.name != old.name


def test_results_of_which_nobody_can_tell_are_not_kept(here):
    """A mapper that holds a value from outside leaves nothing, and resuming says why all maps run again."""
    unknown = JOB.replace("FACTOR = 1", "FACTOR = 1\nSTREAM = (n for n in ())").replace("* FACTOR", "* bool(STREAM)")
    (here / "job.py").write_text(unknown)
    failure = fail(here)
    assert "map results are kept" not in str(failure)
    (here / "job.py").write_text(unknown.replace('raise ValueError("a bug")', "key = 99"))
    done = command("resume", "last", cwd=here)
    assert "reducer edited, mapper cannot be judged: " in done.stderr
    assert done.stderr.count("run again") == 1
