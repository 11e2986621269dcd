"""A travelled job is loaded in a process that has none of it, and what is missing there is named."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mapreduce.plan import TaskOptions
from mapreduce.protocol.plain import pack
from mapreduce.targets import load_job
from mapreduce.travel.imports import ModuleSource
from mapreduce.travel.loader import SourceFinder
from mapreduce.travel.package import Package, Setup, package_of, setup_of

OPTIONS = TaskOptions(job="j", output="/out", seed=7)

Loaded = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """Load a package in a fresh `python -P` process elsewhere, and run some lines there.

    In these `code` is the LoadedCode, `setup(n)` the LoadedJob of the n-th setup, and `loaded` that of the first.
    """

    def run(package: Package, lines: str = "", setups: Sequence[Setup] = ()) -> subprocess.CompletedProcess[str]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        (tmp_path / "package.bin").write_bytes(pack(package))
        for number, setup in enumerate(setups or [Setup(pickle.dumps(({}, {})), OPTIONS)]):
            (tmp_path / f"package.bin{number}").write_bytes(pack(setup))
        script = (
            "import sys\nfrom pathlib import Path\nfrom mapreduce.errors import MapReduceError\n"
            "from mapreduce.travel.loader import LoadedCode\n"
            "def setup(number): return code.setup(Path(sys.argv[1] + str(number)).read_bytes(), {})\n"
            "try:\n    code = LoadedCode(Path(sys.argv[1]).read_bytes())\n    loaded = setup(0)\n"
            "except MapReduceError as error:\n    sys.exit(f'{type(error).__name__}: {error}')\n"
        ) + textwrap.dedent(lines)
        return subprocess.run(
            [sys.executable, "-P", "-c", script, str(tmp_path / "package.bin")],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_parameters_and_options_arrive(loaded: Loaded) -> None:
    """They come back as they were given, typed."""
    package = package_of(load_job("@word_count"))
    setup = setup_of({"n": 3, "x": None, "words": ["a", {"b"}]}, OPTIONS, pack(package))
    done = loaded(package, "print(loaded.params, loaded.options.seed, loaded.job)", [setup])
    assert done.stdout == "{'n': 3, 'words': ['a', {'b'}], 'x': None} 7 Job(keys=str.split, reducer=Count())\n", (
        done.stderr
    )


def test_a_missing_package_is_named_before_anything_runs(loaded: Loaded) -> None:
    """A worker without an installed requirement says which, and what to do."""
    package = dataclasses.replace(package_of(load_job("@word_count")), requirements=("no_such_package", "yaml"))
    done = loaded(package)
    assert done.returncode == 1
    assert done.stderr.startswith("PackagingError: the job imports 'no_such_package', which is not installed")


def test_a_pickle_of_another_python_is_refused(loaded: Loaded) -> None:
    """Code objects cannot cross versions of Python; both are named."""
    package = dataclasses.replace(package_of(load_job("@word_count")), python="3.9", job_pickle=b"x", target=None)
    done = loaded(package)
    assert "made with Python 3.9 and this worker runs 3." in done.stderr


def test_a_module_that_fails_on_the_worker_shows_its_line(loaded: Loaded) -> None:
    """Such as one that reads a file which only the client has."""
    source = b"import os\nDATA = open('/no/such/data')\n"
    package = dataclasses.replace(
        package_of(load_job("@word_count")),
        target=("lo_fails", ""),
        modules=(ModuleSource("lo_fails", "/home/u/lo_fails.py", source, is_package=False),),
    )
    done = loaded(package)
    assert "PackagingError: lo_fails cannot be loaded on this worker" in done.stderr
    assert 'File "/home/u/lo_fails.py", line 2' in done.stderr
    assert "DATA = open('/no/such/data')" in done.stderr


def test_the_finder_serves_packages_namespaces_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative imports work; inspect and linecache see the text; what did not travel is left to others."""
    modules = [
        ModuleSource("lo_pack.sub.mod", "/c/lo_pack/sub/mod.py", b"from ..base import x\n", is_package=False),
        ModuleSource("lo_pack", "/c/lo_pack/__init__.py", b"", is_package=True),
        ModuleSource("lo_pack.base", "/c/lo_pack/base.py", "x = 'é'\n".encode(), is_package=False),
    ]
    finder = SourceFinder(modules, ())
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    import lo_pack.sub.mod as mod  # type: ignore[import-not-found]  # noqa: PLC0415 - found by the finder above

    held: dict[str, Any] = vars(mod)
    assert held["x"] == "é"
    assert mod.__file__ == "/c/lo_pack/sub/mod.py"
    assert finder.get_source("lo_pack.base") == "x = 'é'\n"
    assert finder.is_package("lo_pack")
    assert finder.find_spec("lo_pack.absent") is None
    with pytest.raises(ModuleNotFoundError):
        __import__("lo_pack.absent")


def test_code_is_loaded_once_for_many_setups(loaded: Loaded) -> None:
    """Each run has its parameters, options and their types' modules; the job's own modules stay as they are."""
    modules = [
        ModuleSource("lo_job", "/c/lo_job.py", b"calls = []\ndef mapper(line):\n    yield line, 1\n", is_package=False),
        ModuleSource("lo_ns.used", "/c/lo_ns/used.py", b"x = 1\n", is_package=False),
    ]
    package = dataclasses.replace(
        package_of(load_job("@word_count")), target=("lo_job", ""), modules=tuple(modules), requirements=()
    )
    setups = [
        Setup(
            pickle.dumps(({"n": number}, {})),
            dataclasses.replace(OPTIONS, seed=number),
            (ModuleSource("lo_ns.types", "/c/lo_ns/types.py", f"version = {number}\n".encode(), is_package=False),),
        )
        for number in (1, 1, 2)
    ]
    script = """
    import lo_job, lo_ns.used
    lo_job.calls.append(1)
    for number in range(3):
        again = setup(number)
        import lo_ns.types
        same = sys.modules["lo_job"] is lo_job and sys.modules["lo_ns.used"] is lo_ns.used
        print(again.params, again.options.seed, lo_ns.types.version, same, again.job is loaded.job)
    """
    done = loaded(package, script, setups)
    assert done.stdout.splitlines() == [
        "{'n': 1} 1 1 True True",
        "{'n': 1} 1 1 True True",
        "{'n': 2} 2 2 True True",
    ], done.stderr


def test_parameters_that_do_not_load_leave_the_code_usable(loaded: Loaded) -> None:
    """A parameter whose type breaks on the worker is told with its traceback; the next setup is fine."""
    broken = Setup(pickle.dumps(({}, {})).replace(b"}", b"X"), OPTIONS)
    fine = Setup(pickle.dumps(({"n": 1}, {})), OPTIONS)
    script = """
    try:
        setup(1)
    except MapReduceError as error:
        print(str(error).partition(" cannot be loaded on this worker")[0])
    print(setup(2).params)
    """
    done = loaded(package_of(load_job("@word_count")), script, [fine, broken, fine])
    assert done.stdout.splitlines() == ["what the job's parameters are", "{'n': 1}"], done.stderr
