"""Clear errors: what was wrong, where, what to do; the right exit code, and nothing left behind."""

import hashlib
import json
import subprocess
import sys

import pytest
from cluster import Cluster, environment, mapreduce, wait_for
from reference import bytes_of

JOB = """\
def mapper(line):
    for word in line.split():
        yield word, 1


def reducer(word, counts):
    yield word, sum(counts)
"""


@pytest.fixture
def here(tmp_path):
    """A folder with a job and a text."""
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    (tmp_path / "in.txt").write_text("to be or\nnot to be\n", encoding="utf-8")
    return tmp_path


def refused(code, *arguments, cwd, **env):
    """Run a command that must end with this exit code and no traceback of ours; gives its stderr."""
    done = mapreduce(*arguments, cwd=cwd, check=False, **env)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout == ""
    assert "mapreduce/cli" not in done.stderr
    return done.stderr


def test_no_such_input(here):
    """A missing input is named, with exit code 2, before anything starts."""
    assert "nowhere.txt" in refused(2, "run", "job.py", "nowhere.txt", "-o", "out", cwd=here)
    assert "no*.txt" in refused(2, "run", "job.py", "no*.txt", "-o", "out", cwd=here)
    assert not (here / "out").exists()


def test_no_such_job(here):
    """A missing job file or module is named; a demo that does not exist lists those that do."""
    assert "nojob.py" in refused(2, "run", "nojob.py", "in.txt", cwd=here)
    assert "no_such_module" in refused(2, "run", "no_such_module", "in.txt", cwd=here)
    assert "@word_count" in refused(2, "run", "@wordcount", "in.txt", cwd=here)


def test_an_existing_output_folder_is_refused_and_kept(here):
    """A folder with something in it is refused by name, and what it holds stays."""
    (here / "out").mkdir()
    (here / "out" / "mine.txt").write_text("precious")
    said = refused(2, "run", "job.py", "in.txt", "-o", "out", cwd=here)
    assert "mine.txt" in said
    assert "name another folder" in said
    assert [p.name for p in (here / "out").iterdir()] == ["mine.txt"]


def test_overwrite_replaces_an_earlier_result(here):
    """With --overwrite the folder holds the new result, and reading it gives only that."""
    mapreduce("run", "job.py", "in.txt", "-o", "out", cwd=here)
    (here / "in.txt").write_text("other words\n", encoding="utf-8")
    mapreduce("run", "job.py", "in.txt", "-o", "out", "--overwrite", cwd=here)
    manifest = json.loads((here / "out" / "_SUCCESS").read_text())
    text = "".join((here / "out" / file["name"]).read_text() for file in manifest["files"])
    assert text == "other\t1\nwords\t1\n"
    assert len(list((here / "out").glob("part-*"))) == len(manifest["files"])


def test_an_unpicklable_closure_is_named_before_anything_starts(here):
    """A job that closes over a lock is refused with the variable's name."""
    (here / "script.py").write_text(
        "import threading\nimport mapreduce\n\ndef make():\n    guard = threading.Lock()\n"
        "    def mapper(line):\n        with guard:\n            yield line, 1\n    return mapper\n\n"
        "mapreduce.run(mapreduce.Job(mapper=make()), ['in.txt'])\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=here, env=environment(), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert "guard" in done.stderr
    assert "PackagingError" in done.stderr


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_a_reducer_that_raises_shows_the_users_line_first(runner, here):
    """The user's own traceback comes first, then function, key and task; exit code 1; no output is left."""
    (here / "job.py").write_text(JOB.replace("sum(counts)", "1 // (len(list(counts)) - 2)"), encoding="utf-8")
    said = refused(1, "run", "job.py", "in.txt", "-o", "out", "-r", runner, cwd=here)
    assert said.index("1 // (len(list(counts)) - 2)") < said.index("ZeroDivisionError")
    for word in ("reducer", "key: 'be'", "reduce 0"):
        assert word in said, said
    assert not (here / "out").exists()


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_a_mapper_that_raises_names_file_offset_and_record(runner, here):
    """A failing record is shown with its file, its byte offset and itself."""
    (here / "job.py").write_text("def mapper(line):\n    yield line, int(line)\n", encoding="utf-8")
    (here / "in.txt").write_text("12\n345\nno number\n6\n", encoding="utf-8")
    said = refused(1, "run", "job.py", "in.txt", "-o", "out", "-r", runner, cwd=here)
    assert "in.txt, byte 7" in said
    assert "'no number'" in said
    assert "yield line, int(line)" in said


def test_a_failure_on_a_cluster_says_its_message_once(here, cluster):
    """After two attempts on a cluster the text stands once, as in a run here; the task's line has the rest."""
    (here / "job.py").write_text("def mapper(line):\n    yield line, int(line)\n", encoding="utf-8")
    env = {"MAPREDUCE_COORDINATOR": cluster.address}
    said = refused(1, "submit", "job.py", here / "in.txt", "-o", here / "out", cwd=here, **env)
    assert said.count("invalid literal for int()") == 1, said
    assert "\n  task: map 0 (attempt 2 of 2 that failed so)\n" in said


def test_a_bad_byte_names_the_place_and_the_ways_out(here):
    """Text that is not UTF-8 is an error with file and offset; --encoding and --encoding-errors are the ways out."""
    (here / "in.txt").write_bytes(b"fine\ncaf\xe9\n")
    said = refused(1, "run", "job.py", "in.txt", "-o", "out", cwd=here)
    for word in ("in.txt", "byte 8", "--encoding", "--encoding-errors"):
        assert word in said, said
    assert mapreduce("run", "job.py", "in.txt", "--encoding", "latin-1", cwd=here).stdout == "café\t1\nfine\t1\n"
    done = mapreduce("run", "job.py", "in.txt", "--encoding-errors", "skip", cwd=here)
    assert done.stdout == "fine\t1\n"
    assert "skipped" in done.stderr or "left out" in done.stderr


def test_a_binary_file_is_told_apart_from_broken_text(here):
    """A Parquet file under the text default is called by its name."""
    (here / "table.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 9 + b"PAR1")
    said = refused(1, "run", "job.py", "table.parquet", "-o", "out", cwd=here)
    assert "table.parquet is a Parquet file (say --input-format parquet), not utf-8 text" in said


def test_no_coordinator_at_the_address(here):
    """A wrong address is named within seconds, with how to start a coordinator; exit code 2."""
    for command in (["workers"], ["submit", "job.py", "in.txt", "-o", "out"], ["status", "last"]):
        said = refused(2, *command, cwd=here, MAPREDUCE_COORDINATOR="tcp://127.0.0.1:9")
        assert "tcp://127.0.0.1:9" in said
        assert "mapreduce coordinator" in said
    assert not (here / "out").exists()


def test_no_workers_is_said_and_waited_for(here):
    """Without workers the client says what it waits for; a worker that comes does the job."""
    with Cluster(here) as cluster:
        log = here / "submit.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mapreduce", "submit", "job.py", "in.txt", "-o", "out"],
                cwd=here,
                env=environment(MAPREDUCE_COORDINATOR=cluster.address),
                stderr=stream,
            )
        wait_for(lambda: "worker" in log.read_text() and "wait" in log.read_text().lower(), "the client says so")
        cluster.start_worker()
        assert process.wait(60) == 0
    assert (here / "out" / "_SUCCESS").exists()


def test_an_input_that_a_worker_does_not_see(here):
    """A path that means another file on a worker is refused before the first task, naming worker and path."""
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    with Cluster(here) as cluster:
        cluster.start_worker(cwd=elsewhere)
        # this path is looked up from each process's own folder, as an unshared disk would be
        said = refused(
            1,
            "submit",
            "job.py",
            "/proc/self/cwd/in.txt",
            "-o",
            here / "out",
            cwd=here,
            MAPREDUCE_COORDINATOR=cluster.address,
        )
        (worker,) = cluster.status_of_workers()
    assert "/proc/self/cwd/in.txt" in said
    assert worker["name"] in said
    assert not (here / "out").exists()


def test_versions_must_match(here):
    """A worker of another version is refused: both versions are named, and it exits with code 2."""
    with Cluster(here) as cluster:
        source = (
            "import sys, importlib.metadata as m; real = m.version\n"
            "m.version = lambda name: '0.0.1' if name == 'polars' else real(name)\n"
            "sys.argv = ['agent', '--coordinator', sys.argv[1], '--slots', '1', '--scratch', sys.argv[2]]\n"
            "import runpy; runpy.run_module('workers.agent', run_name='__main__')\n"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", source, cluster.address, str(here / "s")],
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert "0.0.1" in done.stderr
    assert "polars" in done.stderr.lower()


def test_rival_packages_in_the_current_folder_change_nothing(here):
    """A user's workers.py, jobs/ and click.py beside the job are neither taken for ours nor hidden from the user."""
    (here / "workers.py").write_text("WORKERS = 7\n")
    (here / "jobs").mkdir()
    (here / "jobs" / "__init__.py").write_text("JOBS = 9\n")
    (here / "job.py").write_text(
        "import workers\nfrom jobs import JOBS\ndef mapper(line):\n    yield 'seen', workers.WORKERS + JOBS\n"
    )
    for runner in ("inline", "local"):
        done = mapreduce("run", "job.py", "in.txt", "-r", runner, cwd=here)
        assert done.stdout == "seen\t16\n" * 2
    assert "to" in mapreduce("run", "@word_count", "in.txt", cwd=here).stdout


SMALL_DISK = "mount -t tmpfs -o size=2m tmpfs {folder} && exec {command}"


def on_a_small_disk(folder, *arguments, cwd, **env):
    """Run the command line with a disk of 2 MB mounted at `folder`, in a mount namespace of its own."""
    command = " ".join(f"'{a}'" for a in (sys.executable, "-P", "-m", "mapreduce", *arguments))
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK.format(folder=folder, command=command)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def small_disks_can_be_mounted():
    """Whether this machine lets us mount a small disk in a namespace of our own."""
    try:
        probe = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not small_disks_can_be_mounted(), reason="this machine does not let us mount a small disk")
@pytest.mark.parametrize("where", ["scratch", "output"])
def test_a_full_disk_is_named(where, here):
    """A full scratch or output disk ends the job with exit code 1 and the folder's name; the rest is cleaned up."""
    words = "\n".join(hashlib.sha256(b"%d" % i).hexdigest() for i in range(120_000))  # cannot be compressed away
    (here / "in.txt").write_text(words, encoding="utf-8")
    (here / "job.py").write_text(JOB, encoding="utf-8")
    disk = here / "disk"
    disk.mkdir()
    (here / "tmp").mkdir()
    env = {"TMPDIR": str(disk if where == "scratch" else here / "tmp")}
    output = disk / "out" if where == "output" else here / "out"
    done = on_a_small_disk(disk, "run", "job.py", "in.txt", "-o", str(output), "-j", "2", cwd=here, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert str(disk) in done.stderr, done.stderr
    assert "full" in done.stderr or "No space" in done.stderr
    assert not (here / "out").exists()


def test_the_message_for_a_failed_job_in_python(here):
    """From Python a failure is JobFailed with the traceback, the record and the task."""
    (here / "script.py").write_text(
        "import mapreduce\nfrom mapreduce import Job, JobFailed\n"
        "def mapper(line):\n    yield line, 1 / (len(line) - 8)\n"
        "try:\n    mapreduce.run(Job(mapper=mapper), ['in.txt'], 'out')\n"
        "except JobFailed as error:\n"
        "    print(error.task, error.record, 'len(line) - 8' in error.traceback, sep='|')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=here, env=environment(), capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout == "map 0|'to be or'|True\n", done.stderr
    assert not (here / "out").exists()


def test_a_result_is_whole_or_absent(here):
    """After a good run the folder holds the parts, the manifest and the job's facts, and nothing temporary."""
    mapreduce("run", "job.py", "in.txt", "-o", "out", "--reducers", "2", cwd=here)
    assert sorted(p.name for p in (here / "out").iterdir()) == ["_SUCCESS", "_job.json", "part-00000", "part-00001"]
    assert len(bytes_of(here / "out")) == 3
