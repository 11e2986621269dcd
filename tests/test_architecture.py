"""The layers, sizes and start-up costs that the code promises, read from the code itself."""

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mapreduce

ROOT = Path(__file__).parents[1]
FILE_LINES = 400
FUNCTION_LINES = 75
TEST_FILE_LINES = 420  # one behaviour has many cases, and stays in one file with them
SOURCES = sorted(path for package in ("mapreduce", "workers") for path in (ROOT / package).rglob("*.py"))
SOCKETS = {  # the shells: everything else is given messages, or bytes
    "mapreduce/client.py",
    "mapreduce/coordinator/server.py",
    "workers/agent_main.py",
    "workers/agent_shell.py",
    "workers/shuffle_client.py",
    "workers/shuffle_server.py",
}
HEAVY = {"polars", "numpy", "zmq", "cloudpickle", "msgpack", "sqlite3"}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path):
    """The dotted names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module


def test_the_layers_hold():
    """Every contract of .importlinter is kept."""
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_files_and_functions_are_small():
    """No file of the engine has more than 400 lines, no function more than 75."""
    too_large = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > FILE_LINES:
            too_large[name] = lines
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    too_large[f"{name}:{node.name}"] = lines
    assert not too_large
    assert len(SOURCES) > 50


def test_test_files_are_small():
    """No file of the tests has more than 420 lines: one that grows is split by behaviour."""
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "tests").rglob("*.py")}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > TEST_FILE_LINES} == {}
    assert len(lines) > 150


def test_the_tests_that_documents_name_are_there():
    """A document that says where something is tested names a file or folder of the tests."""
    named = [
        ROOT / name
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"`(tests/[^`\s]+)`", document.read_text(encoding="utf-8"))
    ]
    assert [str(path) for path in named if not path.exists()] == []
    assert len(named) > 30


def test_only_the_shells_touch_sockets():
    """ZeroMQ is imported by the shells of coordinator, client, agent and shuffle, and by nothing else."""
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name.partition(".")[0] == "zmq" for name in imported(path))
    }
    assert found == SOCKETS


def test_jobs_use_public_names_only():
    """What the demos import of ours is what `mapreduce` exports, since they are what users start from."""
    checked = 0
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] not in {"mapreduce", "workers"} for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in {"mapreduce", "workers"}:
                assert node.module == "mapreduce", path
                assert {alias.name for alias in node.names} <= set(mapreduce.__all__), path
                checked += 1
    assert checked >= 3


def test_no_module_is_loaded_that_users_need_not_have():
    """The engine imports the standard library, itself and what it declares (fsspec by extras): nothing of the tests."""
    declared = {"click", "cloudpickle", "fsspec", "lz4", "msgpack", "numpy", "polars", "zmq", "xxhash", "zstandard"}
    names = {name.partition(".")[0] for path in SOURCES for name in imported(path)}
    assert names - set(sys.stdlib_module_names) <= declared | {"mapreduce", "workers"}


@pytest.mark.parametrize(
    "code",
    [
        "import mapreduce",
        "import mapreduce; [getattr(mapreduce, name) for name in mapreduce.__all__]",
        "from mapreduce.cli import main; sys.argv = ['mapreduce', '--help']; main()",
        "from mapreduce.cli import main; sys.argv = ['mapreduce', 'run', '--help']; main()",
        "from mapreduce.cli import main; sys.argv = ['mapreduce', '--version']; main()",
    ],
)
def test_starting_is_light(code):
    """Neither the package, nor a job's imports, nor help load what is slow to load."""
    code = (
        f"import atexit, sys; atexit.register(lambda: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr));"
        f"{code}"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("module", ["workers.agent_main", "workers.shuffle_server", "mapreduce.coordinator.server"])
def test_processes_without_records_are_light(module):
    """What starts with every worker and local run, and handles no record, loads neither Polars nor NumPy."""
    code = f"import sys, {module}; print(sorted({{'polars', 'numpy', 'cloudpickle'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


def test_every_exemption_from_the_linter_has_its_reason():
    """A `noqa` or `type: ignore` names its rule, and a `noqa` says why."""
    bare = []
    for path in itertools.chain(SOURCES, (ROOT / "jobs").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            _, found, rest = line.partition("# noqa")
            if found and not (rest.startswith(": ") and " - " in rest):
                bare.append(f"{path.relative_to(ROOT)}:{number}")
    assert not bare
