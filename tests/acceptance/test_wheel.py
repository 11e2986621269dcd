"""What is installed from the wheel: the engine, its demos, and nothing that a user's own modules could clash with."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from cluster import environment

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mapreduce", "workers", "jobs")  # what the Dockerfile copies too


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, so that no build folder is left beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, copy]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("mapreduce_engine-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A fresh environment with the wheel unpacked in it; what the engine depends on comes from this one's packages."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A plain path: the .pth file of an editable installation that lies there is not followed from here.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin" / "python"


def test_the_wheel_holds_the_engine_and_nothing_else(wheel):
    """mapreduce with its types and demos, workers, the licence; no top-level `jobs`, no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not re.fullmatch(r"mapreduce_engine-.*\.dist-info", name)} == {
        "mapreduce",
        "workers",
    }
    expected = {str(path.relative_to(ROOT)) for p in ("mapreduce", "workers") for path in (ROOT / p).rglob("*.py")}
    expected |= {f"mapreduce/demos/{path.relative_to(ROOT / 'jobs')}" for path in (ROOT / "jobs").rglob("*.py")}
    expected |= {f"mapreduce/demos/text/{path.name}" for path in (ROOT / "jobs" / "text").iterdir()}
    expected |= {f"mapreduce/starters/{path.name}" for path in (ROOT / "mapreduce" / "starters").iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == expected | {"mapreduce/py.typed"}
    assert len([name for name in expected if name.startswith("mapreduce/demos/text/")]) >= 3
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_an_installed_wheel_works_anywhere(python, tmp_path):
    """From the wheel alone the demos run in task processes; `jobs` is nobody's name."""
    (tmp_path / "in.txt").write_text("to be or not to be\n", encoding="utf-8")

    def ran(*arguments):
        return subprocess.run(
            [python, "-P", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    where = ran("-c", "import mapreduce, workers; print(mapreduce.__file__, workers.__file__, sep='\\n')")
    assert all(Path(line).is_relative_to(python.parents[1]) for line in where.stdout.splitlines()), where
    assert "No module named 'jobs'" in ran("-c", "import jobs").stderr
    for name in ("word_count", "inverted_index", "feature_extraction"):
        shown = ran("-m", "mapreduce", "demo", name)
        assert shown.returncode == 0, shown.stderr
        assert len(shown.stdout.splitlines()) >= 3
    judged = ran("-m", "mapreduce", "demo", "batch_inference")
    assert judged.returncode == 0, judged.stderr
    assert "'files': " in judged.stdout
    counted = ran("-m", "mapreduce", "run", "@word_count", "in.txt")
    assert counted.stdout == "be\t2\nnot\t1\nor\t1\nto\t2\n", counted.stderr
    version = ran("-m", "mapreduce", "--version")
    assert version.stdout.startswith("mapreduce")


def test_what_is_imported_is_declared(wheel):
    """The wheel's metadata names each package that the engine imports, and the command."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = archive.read(f"{info}/METADATA").decode()
        commands = archive.read(f"{info}/entry_points.txt").decode()
    required = set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE))
    assert required == {"click", "cloudpickle", "lz4", "msgpack", "numpy", "polars", "pyzmq", "xxhash", "zstandard"}
    assert "mapreduce = mapreduce.cli:main" in commands
    assert "Requires-Python: >=3.11" in metadata
