"""`mapreduce new`: what it writes can be tested and run at once."""

import subprocess
import sys

from cluster import environment, mapreduce

from mapreduce.targets import demo_names


def test_what_is_written_runs_and_passes_its_test(tmp_path):
    """The small job, and a copy of each demo, pass the tests that come with them; the command says how to go on."""
    told = mapreduce("new", "my_job", cwd=tmp_path)
    for demo in demo_names():
        mapreduce("new", f"my_{demo}", "--from", f"@{demo}", cwd=tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", env=environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "wrote my_job.py and test_my_job.py"
    (tmp_path / "text.txt").write_text("one fish two fish\n", encoding="utf-8")
    run = next(line for line in lines if "mapreduce run" in line).partition(":")[2].split()
    counted = mapreduce(*run[1:3], "text.txt", cwd=tmp_path)
    assert counted.stdout == "fish\t2\none\t1\ntwo\t1\n"


def test_a_mistake_is_answered_in_a_line(tmp_path):
    """A name that cannot be exits with 2 and says what to do."""
    done = mapreduce("new", "my-job", cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "'my-job' is no name for a module: use letters, digits and _, such as my_job\n"
