"""A job to start from: a module of one's own and a test for it, written into a folder.

The module is a small job, or a copy of one of the bundled demos. Refuses to replace files, and names that would hide
modules of others.
"""

from __future__ import annotations

import keyword
import sys
import unicodedata
from importlib import resources
from pathlib import Path

from mapreduce.errors import OutputError, UsageError
from mapreduce.project import find_module
from mapreduce.targets import demo_names

STARTERS = "starters"  # the folder of this package with the texts of tests, and of the small job
DEMOS = "mapreduce.demos"
NAME_BYTES = 200  # of a module's: file systems take 255, and those of its test, compiled, are longer
NAME_MARK = "JOB"  # in the text of a test: the name of the module that it tests


def write_new_job(folder: Path, name: str, demo: str | None = None) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder that exists, and give their paths.

    `demo` names the demo that is copied. Raises UsageError for a name or demo that cannot be, OutputError where a file
    is there already or cannot be written; then none of the two is written.
    """
    name = name.removesuffix(".py")
    _check_name(name)
    paths = (folder / f"{name}.py", folder / f"test_{name}.py")
    found = next((path for path in paths if path.exists()), None)
    if found is not None:
        raise OutputError(f"there is {found} already: choose another name, or move that file away")
    texts = (_module(demo), _starter(f"test_{demo or 'job'}.txt").replace(NAME_MARK, name))
    written: list[Path] = []
    try:
        for path, text in zip(paths, texts, strict=True):
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        raise OutputError(f"cannot write {paths[len(written) - 1]}: {error.strerror}") from error
    return paths


def _check_name(name: str) -> None:
    if keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is a word of Python's own, and no name for a module: choose another, such as my_{name}"
        )
    if name[:1].isdigit() and f"_{name}".isidentifier():
        raise UsageError(f"{name!r} begins with a digit, which no name of a module does: write job_{name}, say")
    if not name.isidentifier():
        raise UsageError(f"{name!r} is no name for a module: use letters, digits and _, such as my_job")
    if len(name.encode()) > NAME_BYTES:
        raise UsageError(f"{name[:20]}… is too long for the name of a file: use at most {NAME_BYTES} letters of a to z")
    plain = unicodedata.normalize("NFKC", name)
    if plain != name:
        raise UsageError(f"Python reads {name!r} as {plain!r}, and would not find the module: write {plain}")
    if name.startswith("__") and name.endswith("__"):
        raise UsageError(f"{name!r} is a name that Python keeps for itself: choose another, such as my_job")
    if name == "conftest" or name.startswith("test_") or name.endswith("_test"):
        raise UsageError(f"pytest takes {name}.py for its own: choose another name, that of the job, such as my_job")
    taken = find_module(name)
    if name in sys.stdlib_module_names or (taken is not None and taken.kind != "project"):
        raise UsageError(f"a module {name}.py would hide another one of that name: choose another name")


def _module(demo: str | None) -> str:
    """The text of the module."""
    if demo is None:
        return _starter("job.txt")
    if demo not in demo_names():
        raise UsageError(f"there is no demo {demo!r}: choose one of {', '.join(demo_names())}")
    text = (resources.files(DEMOS) / f"{demo}.py").read_text(encoding="utf-8")
    return text.replace("from .", f"from {DEMOS}.")


def _starter(name: str) -> str:
    return (resources.files("mapreduce") / STARTERS / name).read_text(encoding="utf-8")
