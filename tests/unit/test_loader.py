"""A travelled job is loaded in a process that has none of it, and what is missing there is named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapreduce.imports import ModuleSource
from mapreduce.loader import SourceFinder
from mapreduce.package import Package, package_of
from mapreduce.plan import TaskOptions
from mapreduce.protocol.plain import pack
from mapreduce.targets import load_job

OPTIONS = TaskOptions(job="j", output="/out", seed=7)

Loaded = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """Load a package in a fresh `python -P` process elsewhere, run some lines there (`loaded` is the LoadedJob)."""

    def run(package: Package, lines: str = "") -> subprocess.CompletedProcess[str]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        (tmp_path / "package.bin").write_bytes(pack(package))
        script = (
            "import sys\nfrom pathlib import Path\nfrom mapreduce.errors import MapReduceError\n"
            "from mapreduce.loader import load\n"
            "try:\n    loaded = load(Path(sys.argv[1]).read_bytes())\n"
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
    package = package_of(load_job("@word_count"), {"n": 3, "x": None, "words": ["a", {"b"}]}, OPTIONS)
    done = loaded(package, "print(loaded.params, loaded.options.seed, loaded.job)")
    assert done.stdout == "{'n': 3, 'words': ['a', {'b'}], 'x': None} 7 Job(keys=str.split, reducer=Count())\n", (
        done.stderr
    )


def test_a_missing_package_is_named_before_anything_runs(loaded: Loaded) -> None:
    """A worker without an installed requirement says which, and what to do."""
    package = dataclasses.replace(
        package_of(load_job("@word_count"), {}, OPTIONS), requirements=("no_such_package", "yaml")
    )
    done = loaded(package)
    assert done.returncode == 1
    assert done.stderr.startswith("PackagingError: the job imports 'no_such_package', which is not installed")


def test_a_pickle_of_another_python_is_refused(loaded: Loaded) -> None:
    """Code objects cannot cross versions of Python; both are named."""
    package = dataclasses.replace(
        package_of(load_job("@word_count"), {}, OPTIONS), python="3.9", job_pickle=b"x", target=None
    )
    done = loaded(package)
    assert "made with Python 3.9 and this worker runs 3." in done.stderr


def test_a_module_that_fails_on_the_worker_shows_its_line(loaded: Loaded) -> None:
    """Such as one that reads a file which only the client has."""
    source = b"import os\nDATA = open('/no/such/data')\n"
    package = dataclasses.replace(
        package_of(load_job("@word_count"), {}, OPTIONS),
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
