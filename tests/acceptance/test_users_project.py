"""A user's own code through a whole run: it is the client's, as it was at the start; workers need nothing of it."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap

import gated
import pytest
from background import Background
from cluster import Cluster, environment, mapreduce, wait_for
from reference import bytes_of

PROJECT = {
    "shop/__init__.py": "from .models import Sale\n",
    "shop/models.py": """
        import dataclasses
        import threading

        LOCK = threading.Lock()

        @dataclasses.dataclass(frozen=True)
        class Sale:
            item: str
            price: int
    """,
    "shop/late.py": "def total(sales):\n    return sum(sale.price for sale in sales)\n",
    "shop/turnover.py": """
        from . import Sale
        from .models import LOCK

        def mapper(line):
            item, _, price = line.partition("=")
            with LOCK:
                yield item, Sale(item, int(price))

        def reducer(item, sales):
            from .late import total
            yield item, total(sales)
    """,
}
SCRIPT = """
import dataclasses
import functools
import sys

import mapreduce
from mapreduce import Job

from script_helper import prefix

@dataclasses.dataclass
class Item:
    word: str
    size: int

@functools.cache
def scale(word):
    return len(prefix(word)) * factor

class Levels:
    @staticmethod
    @functools.lru_cache(maxsize=10)
    def below(n):
        return 0 if n == 0 else 1 + Levels.below(n - 1)

factor = 10
tag = "tagged"
job = Job(
    mapper=lambda line: [(word, Item(word, scale(word) + Levels.below(3))) for word in line.split()],
    reducer=lambda word, items: [(word, sum(item.size for item in items)), (tag, 1)],
)
options = {"runner": "cluster", "output": sys.argv[1]} if len(sys.argv) > 1 else {}
result = mapreduce.run(job, "in.txt", split_size=8, **options)
print(sorted(result))
print(type(result.output).__name__, result.counters, result.id.partition("-")[0])
"""

HELPER = """
import functools

@functools.lru_cache
def prefix(word):
    return ">" + word
"""


def run_script(folder, *arguments, **env):
    """Run script.py in a folder, as a user does; gives the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "script.py", *map(str, arguments)],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_package_runs_on_workers_that_have_none_of_it(cluster, tmp_path):
    """Relative and lazy imports, a lock and a dataclass as value: the same output here and on the cluster."""
    for name, text in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    (tmp_path / "in.txt").write_text("tea=2\npot=20\ntea=3\n", encoding="utf-8")
    env = {"cwd": tmp_path / "project", "MAPREDUCE_COORDINATOR": cluster.address}
    for number, target in enumerate(("shop.turnover", "shop/turnover.py")):
        for command in ("run", "submit"):
            output = tmp_path / f"{command}-{number}"
            mapreduce(command, target, tmp_path / "in.txt", "-o", output, "--split-size", "7", **env)
            assert (output / "part-00000").read_text(encoding="utf-8") == "pot\t20\ntea\t5\n"


@pytest.mark.parametrize("runner", ["local", "cluster"])
def test_a_scripts_lambdas_caches_and_classes_travel(runner, request, tmp_path):
    """A script's Job of lambdas, with a cached function, a dataclass as value and globals, in task processes."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "script_helper.py").write_text(HELPER, encoding="utf-8")
    (tmp_path / "in.txt").write_text("to be\nor to\n", encoding="utf-8")
    if runner == "local":
        printed = run_script(tmp_path)
    else:
        cluster = request.getfixturevalue("cluster")
        printed = run_script(tmp_path, tmp_path / "out", MAPREDUCE_COORDINATOR=cluster.address)
    assert printed[0] == "[('be', 33), ('or', 33), ('tagged', 1), ('tagged', 1), ('tagged', 1), ('to', 66)]"
    assert printed[1].startswith("NoneType {} " if runner == "local" else "PosixPath {} ")


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_module_that_changes_while_its_job_runs_changes_nothing(change, tmp_path):
    """Code is taken when the job starts: a process started later runs that, whatever became of the files."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(gated.__file__, project / "gated_job.py")
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(3):
        (texts / f"{number}.txt").write_text(f"gate map{number}\nsome words {number}\n" * 3, encoding="utf-8")
    gate = tmp_path / "gate"
    gate.mkdir()
    command = [project / "gated_job.py", texts, "-p", f"gate={gate}", "--split-size", "40"]
    mapreduce("run", *command, "-r", "inline", "-o", tmp_path / "expected")
    for mark in gate.iterdir():
        mark.unlink()
    (gate / "hold-map0").touch()
    with Cluster(tmp_path) as cluster:
        cluster.start_worker(slots=1)
        output = tmp_path / "out"
        with Background(
            tmp_path / "log", "submit", *command, "-o", output, MAPREDUCE_COORDINATOR=cluster.address
        ) as client:
            (mark,) = wait_for(lambda: list(gate.glob("map0.*")), "the first task")
            if change == "deleted":
                shutil.rmtree(project)
            else:
                (project / "gated_job.py").write_text("raise RuntimeError('this is another module')\n")
            os.kill(int(mark.suffix[1:]), signal.SIGKILL)  # so that a new process must load the code
            wait_for(lambda: len(list(gate.glob("map0.*"))) == 2, "the first task's next attempt")
            (gate / "hold-map0").unlink()
            client.finish()
        assert cluster.json("status", "last")["attempts_failed"] == 1
    assert bytes_of(output) == bytes_of(tmp_path / "expected")


def test_a_module_that_ends_in_main_takes_the_options_of_run(tmp_path):
    """`python my_job.py INPUT... -o DIR --reducers N` for a module with a `job`; as a module it is only a job."""
    (tmp_path / "script.py").write_text(
        "import mapreduce\nfrom mapreduce import Count, Job\n\n"
        "job = Job(keys=str.split, reducer=Count())\n\nmapreduce.main()\n",
        encoding="utf-8",
    )
    (tmp_path / "in.txt").write_text("to be or not to be\n", encoding="utf-8")
    assert run_script(tmp_path, "in.txt") == ["be\t2", "not\t1", "or\t1", "to\t2"]
    assert run_script(tmp_path, "in.txt", "-o", "out", "--reducers", 3, "-j", 1) == []
    mapreduce("run", "script.py", "in.txt", "-o", "same", "--reducers", "3", "-r", "inline", cwd=tmp_path)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "same")
    imported = [sys.executable, "-c", "import script; print(script.job.resolved[0].title)"]
    shown = subprocess.run(imported, cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", check=True)
    assert shown.stderr == ""
    assert shown.stdout.count("\n") == 1


def test_a_package_that_only_the_client_has_is_named_before_the_first_task(cluster, tmp_path):
    """An installed package does not travel: where a worker lacks it, both are named and no task is started."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "only_here.py").write_text("LIMIT = 3\n", encoding="utf-8")
    mark = tmp_path / "a task has run"
    (tmp_path / "job.py").write_text(
        "import pathlib\nimport only_here\n\n"
        f"def mapper(line):\n    pathlib.Path({str(mark)!r}).touch()\n    yield line, only_here.LIMIT\n",
        encoding="utf-8",
    )
    (tmp_path / "in.txt").write_text("to be\n", encoding="utf-8")
    env = {"MAPREDUCE_COORDINATOR": cluster.address, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "mapreduce", "submit", "job.py", "in.txt", "-o", "out"],
        cwd=tmp_path,
        env=environment(**env),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "'only_here'" in done.stderr
    assert "not installed" in done.stderr
    assert cluster.status_of_workers()[0]["name"] in done.stderr
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_what_keeps_a_cached_function_from_travelling_is_named(tmp_path):
    """A lock that a script's cached function uses is found behind the cache, before anything starts."""
    (tmp_path / "script.py").write_text(
        "import functools, threading, mapreduce\n\nguard = threading.Lock()\n\n"
        "@functools.cache\ndef model():\n    with guard:\n        return 1\n\n"
        "def mapper(line):\n    yield line, model()\n\n"
        "mapreduce.run(mapreduce.Job(mapper), 'in.txt')\n",
        encoding="utf-8",
    )
    (tmp_path / "in.txt").write_text("to be\n", encoding="utf-8")
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == 1
    for words in ("PackagingError", "the mapper", "`model`", "`guard`", "lock"):
        assert words in done.stderr, done.stderr
