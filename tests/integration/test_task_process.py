"""What user code meets inside a real task process: its output, its surroundings, its mistakes, its own packages."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from fake_coordinator import FakeCoordinator, attempt, plan_job, results

from mapreduce.plan import FailureKind
from mapreduce.process_memory import GLIBC, JEMALLOC, MEMORY_ENV, OF_POLARS, with_memory
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, RunAttempt


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator at an ipc address, whose agents end with the test."""
    with_address = FakeCoordinator(f"ipc://{tmp_path}/c", tmp_path)
    yield with_address
    with_address.close()


def run_map(coordinator, folder, source, text="line\n", *, name="user_job.py", **options):
    """Run a job's only map attempt; gives its outcome and what it printed."""
    path = folder / name
    path.write_text(source, encoding="utf-8")
    agent, _ = coordinator.start_agent(slots=1, **options)
    planned = plan_job(folder, str(path), [text])
    prepared = agent.prepare(planned)
    assert prepared.problem is None, prepared.problem.describe()
    outcome = agent.run(attempt(planned, "map", 0))
    return outcome, agent.log.get(outcome.attempt, "")


def test_all_output_is_caught(coordinator, tmp_path):
    """What is printed, written to descriptors, by children and with odd characters, arrives in order as the log."""
    source = """
import os, subprocess, sys
def mapper(line):
    print("printed", "\\ud800\\u00e9")
    print("to stderr", file=sys.stderr)
    os.write(1, b"written\\n")
    subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"], check=True)
    os.write(2, b"bad \\xff byte\\n")
    sys.stdout.write("no newline at the end")
    yield line, 1
"""
    outcome, log = run_map(coordinator, tmp_path, source)
    assert isinstance(outcome, AttemptDone)
    assert log.splitlines() == [
        "printed \\ud800\u00e9",
        "to stderr",
        "written",
        "from a child",
        "its error",
        "bad \ufffd byte",
        "no newline at the end",
    ]


def test_surroundings(coordinator, tmp_path, monkeypatch):
    """User code has an empty stdin, a fixed hash seed, one thread for Polars, a safe path, a group and a session."""
    source = """
import json, os, signal, sys
def mapper(line):
    print(json.dumps({
        "stdin": sys.stdin.read(),
        "seed": os.environ["PYTHONHASHSEED"],
        "hash": hash("a word"),
        "threads": os.environ["POLARS_MAX_THREADS"],
        "path": sys.path,
        "leader": os.getpgrp() == os.getpid() == os.getsid(0),
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "main": sys.modules["__main__"].__dict__.get("__file__", ""),
    }))
    yield line, 1
"""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.chdir(tmp_path / "elsewhere")
    _, log = run_map(coordinator, tmp_path, source)
    found = json.loads(log)
    assert (found["stdin"], found["seed"], found["threads"]) == ("", "0", "1")
    assert found["leader"]
    assert found["term"]
    assert "" not in found["path"]
    assert str(tmp_path / "elsewhere") not in found["path"]


def test_allocators_keep_freed_memory(coordinator, tmp_path, monkeypatch):
    """Task processes are started with our settings of the allocators, but for those that the user has made."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    source = f"""
import json, os
def mapper(line):
    print(json.dumps({{name: os.environ[name] for name in {sorted(MEMORY_ENV)}}}))
    yield line, 1
"""
    _, log = run_map(coordinator, tmp_path, source)
    found = json.loads(log)
    jemalloc = found.pop(JEMALLOC).removeprefix(f"{OF_POLARS},")  # which Polars has put there itself
    assert {JEMALLOC: jemalloc, **found} == {**MEMORY_ENV, "MALLOC_TRIM_THRESHOLD_": "1000000"}


OURS = MEMORY_ENV[JEMALLOC]
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, OURS),
        ({JEMALLOC: OF_POLARS}, OURS),
        ({JEMALLOC: f"{OF_POLARS},dirty_decay_ms:7"}, f"{OURS},dirty_decay_ms:7"),
        ({JEMALLOC: "narenas:1"}, f"{OURS},narenas:1"),
    ],
)
def test_what_polars_has_set_in_the_parent_is_no_setting_of_the_user(given, wanted):
    """Its times would come after ours, and count; the user's do."""
    assert with_memory(given)[JEMALLOC] == wanted


def test_the_users_tunables_come_after_ours():
    """Of two settings of the same tunable the later one counts."""
    assert with_memory({})[GLIBC] == MEMORY_ENV[GLIBC]
    assert with_memory({GLIBC: "glibc.malloc.check=1"})[GLIBC] == f"{MEMORY_ENV[GLIBC]}:glibc.malloc.check=1"


@pytest.mark.skipif(
    not THP.is_file() or "[madvise]" not in THP.read_text(), reason="nobody is asked for huge pages here"
)
def test_a_task_has_huge_pages(coordinator, tmp_path):
    """The allocators ask for them, and a task's large columns and tables lie in them."""
    source = """
import polars
kept = []
def mapper(line):
    kept.append(polars.Series([1]).new_from_index(0, 8 << 20))
    kept.append(bytearray(24 << 20))
    regions = open("/proc/self/smaps").read().split("VmFlags: ")
    asked = [region for region, after in zip(regions, regions[1:]) if " hg" in after.splitlines()[0]]
    sizes = [int(line.split()[1]) for region in asked for line in region.splitlines() if line.startswith("Size:")]
    print(sum(sizes), any("[heap]" in region for region in asked))
    yield line, 1
"""
    _, log = run_map(coordinator, tmp_path, source)
    kilobytes, heap = log.split()[:2]
    assert int(kilobytes) > 64 << 10
    libc, version = platform.libc_ver()
    knows = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)  # the tunable; others pass it by
    assert heap == str(knows)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('no good'); yield", "ValueError: no good"),
        ("raise SystemExit(3); yield", "sys.exit"),
        ("raise KeyboardInterrupt; yield", "KeyboardInterrupt"),
        ("return 'ab', 'cd'", "'ab'"),
    ],
)
def test_mistakes_are_the_users(coordinator, tmp_path, body, words):
    """Whatever user code raises is told with its own source line, and where in the input it was."""
    outcome, _ = run_map(coordinator, tmp_path, f"def mapper(line):\n    {body}\n")
    assert isinstance(outcome, AttemptFailed)
    assert outcome.failure.kind is FailureKind.USER
    assert words in outcome.failure.message + outcome.failure.traceback
    assert outcome.failure.task == "map 0"


def test_native_crash_is_a_death(coordinator, tmp_path):
    """A crash in native code is a death whose report shows where it was."""
    source = "import ctypes\ndef mapper(line):\n    ctypes.string_at(0)\n    yield line, 1\n"
    outcome, _ = run_map(coordinator, tmp_path, source)
    assert outcome.failure.kind is FailureKind.DIED
    assert "signal SIGSEGV" in outcome.failure.message
    assert "user_job.py" in outcome.failure.stderr, "the interpreter's own report of the crash"


def test_users_workers_package(coordinator, tmp_path, monkeypatch):
    """A user's own `workers` package and module-level names like ours are the user's in the task process."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("")
    (tmp_path / "workers" / "task_sources.py").write_text("def double(line): return line * 2\n")
    source = """
import workers.task_sources
from workers.task_sources import double
def mapper(line):
    import workers
    print(workers.__file__)
    yield double(line), 1
def reducer(key, values):
    yield key, sum(values)
"""
    (tmp_path / "user_job.py").write_text(source, encoding="utf-8")
    for name in [name for name in sys.modules if name.partition(".")[0] == "workers"]:
        monkeypatch.delitem(sys.modules, name)  # this process plays the client, which never imports ours
    agent, _ = coordinator.start_agent(slots=1)
    planned = plan_job(tmp_path, str(tmp_path / "user_job.py"), ["ab\n"], reducers=1)
    assert agent.prepare(planned).problem is None
    done = agent.run(attempt(planned, "map", 0))
    assert agent.log[done.attempt].strip() == str(tmp_path / "workers" / "__init__.py")
    agent.tell(results(planned, [agent.source(done)]))
    done = agent.run(attempt(planned, "reduce", 0))
    agent.tell(results(planned, [agent.source(done)], of_maps=False))
    assert isinstance(agent.run(attempt(planned, "commit", 0)), AttemptDone)
    assert (tmp_path / "out" / "part-00000").read_text() == "abab\t1\n"


def test_what_is_loaded_once_stays(coordinator, tmp_path):
    """A functools.cache'd function is called once in a process, however many attempts it serves."""
    source = """
import functools
@functools.cache
def model():
    print("loaded")
    return 1
def mapper(line):
    yield line, model()
"""
    (tmp_path / "user_job.py").write_text(source, encoding="utf-8")
    agent, _ = coordinator.start_agent(slots=1)
    planned = plan_job(tmp_path, str(tmp_path / "user_job.py"), ["a\n"])
    assert agent.prepare(planned).problem is None
    first, second = (attempt(planned, "map", 0, number) for number in (1, 2))
    agent.run(first)
    agent.run(second)
    assert agent.log == {first: "loaded\n"}


def test_several_steps(coordinator, tmp_path):
    """A later step's maps read the parts of the step before; counters of earlier steps come along."""
    source = """
from mapreduce import Count, Job, Step
def swap(word, count, *, ctx):
    print(ctx.previous.counters)
    yield count, word
def join(count, words):
    yield count, sorted(words)
def split(line, *, ctx):
    ctx.counters["lines"] += 1
    return line.split()
job = Job(steps=[Step(keys=split, reducer=Count()), Step(mapper=swap, reducer=join)])
"""
    (tmp_path / "user_job.py").write_text(source, encoding="utf-8")
    agent, _ = coordinator.start_agent(slots=1)
    planned = plan_job(tmp_path, str(tmp_path / "user_job.py"), ["a b a\n", "c b\n"], reducers=2)
    assert agent.prepare(planned).problem is None
    sources = []
    for step, shape in enumerate(planned.spec.steps):
        for kind, count in (("map", shape.maps), ("reduce", shape.reduces)):
            previous = ({"lines": 2},) * step
            done = []
            for index in range(count):
                which = attempt(planned, kind, index, step=step)
                agent.tell(RunAttempt(which, previous))
                outcome = agent.expect((AttemptDone, AttemptFailed))
                assert isinstance(outcome, AttemptDone), outcome.failure.describe()
                done.append(agent.source(outcome))
            agent.tell(results(planned, done, of_maps=kind == "map", step=step))
            sources.append(done)
    agent.run(attempt(planned, "commit", 0, step=1))
    text = "".join((tmp_path / "out" / f"part-0000{number}").read_text() for number in range(2))
    assert sorted(text.splitlines()) == ['1\t["c"]', '2\t["a","b"]']
    assert "{'lines': 2}" in "".join(agent.log.values())


def test_output_folder_that_has_gone(coordinator, tmp_path):
    """An attempt whose output folder has gone fails, and names the folder."""
    agent, _ = coordinator.start_agent(slots=1)
    (tmp_path / "user_job.py").write_text("def mapper(line): yield line, 1\n", encoding="utf-8")
    planned = plan_job(tmp_path, str(tmp_path / "user_job.py"), ["a\n"])
    assert agent.prepare(planned).problem is None
    (tmp_path / "out").rename(tmp_path / "moved")
    outcome = agent.run(attempt(planned, "map", 0))
    assert isinstance(outcome, AttemptFailed)
    assert str(tmp_path / "out") in outcome.failure.message + outcome.failure.traceback


def test_an_exception_that_cannot_be_shown(coordinator, tmp_path):
    """A user's exception whose `__str__` raises is the user's failure, and no death of the process."""
    source = """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no words for it")

def mapper(line):
    raise Odd
"""
    outcome, _ = run_map(coordinator, tmp_path, source)
    assert outcome.failure.kind is FailureKind.USER
    assert outcome.failure.message == "Odd: (its text cannot be shown: str() of it raises RuntimeError)"
    assert "    raise Odd\n" in outcome.failure.traceback


def test_a_process_that_closed_our_socket(coordinator, tmp_path):
    """User code that closes all descriptors kills its own attempt, and the report says what it did."""
    source = "import os\n\ndef mapper(line):\n    os.closerange(3, 256)\n    yield line, 1\n"
    outcome, _ = run_map(coordinator, tmp_path, source)
    assert outcome.failure.kind is FailureKind.DIED
    assert outcome.failure.stderr.endswith("user code has closed a descriptor that it did not open (os.closerange?)")


def test_a_forked_copy_that_comes_back_says_nothing(coordinator, tmp_path):
    """Where user code forks and both return to us, only the original process tells an outcome."""
    source = """
import os

def mapper(line):
    child = os.fork()
    if child:
        print("the copy ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        yield line, 1
"""
    outcome, log = run_map(coordinator, tmp_path, source)
    assert isinstance(outcome, AttemptDone)
    assert outcome.done.records_out == 1
    assert "the copy ended with 1" in log


def test_no_module_of_ours_uses_polars_while_it_is_imported():
    """The fork server refuses to fork with Polars' thread pool, whose locks would hang every task; it has none."""
    script = (
        "import workers.fork_server as server, polars, sys\nserver._refuse_pool()\nprint('forks')\n"
        "polars.Series([2, 1]).to_frame().lazy().sort('').collect()\nserver._refuse_pool()\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "forks\n"
    assert "a module of the engine uses Polars while it is imported" in done.stderr
