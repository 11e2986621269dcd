"""Which code is the user's, which is installed, which is ours: decided by where a module's file lies.

Owns the search for modules without importing them. A user's project is everything that is neither the standard library
nor below a site-packages folder nor this engine.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from mapreduce.quick_dataclass import dataclass

# Names that a project's modules cannot have: in a task process they would take the place of what the engine needs.
RESERVED = frozenset(
    {"mapreduce", "polars", "numpy", "zmq", "msgpack", "cloudpickle", "click", "xxhash", "zstandard", "lz4", "__main__"}
)

_ENGINE = str(Path(__file__).parent)
_OURS = (_ENGINE + os.sep, str(Path(_ENGINE).parent / "workers") + os.sep)
_DEMOS = (str(Path(_ENGINE) / "demos") + os.sep,)  # they are jobs, so their frames are the user's
_STDLIB = str(Path(os.__file__).parent) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True, slots=True)
class Module:
    """A module as found, not imported. `kind` is stdlib, engine, library, project, namespace (a folder) or compiled.

    `path` is its file ("" for namespaces and builtins); `locations` are the folders of a package.
    """

    name: str
    kind: str
    path: str = ""
    is_package: bool = False
    locations: tuple[str, ...] = ()


def is_library_file(path: str) -> bool:
    """Whether a file belongs to the standard library or an installed package, and so not to the user's project."""
    if path.startswith(_DEMOS):
        return False
    return any(part in path for part in _INSTALLED) or is_stdlib_file(path)


def is_stdlib_file(path: str) -> bool:
    """Whether a file belongs to the standard library."""
    if any(part in path for part in _INSTALLED):
        return False
    return path.startswith((_STDLIB, "<frozen"))


def is_engine_file(path: str) -> bool:
    """Whether a file is this engine's own, demos excepted."""
    return path.startswith(_OURS) and not path.startswith(_DEMOS)


def root_and_name(path: Path) -> tuple[Path, str]:
    """The folder from which a `.py` file is imported, and its dotted name there.

    Folders with an `__init__.py` upwards are its packages; without any its own folder is the root, as it is for
    `python FILE`.
    """
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        parts.append(folder.name)
        folder = folder.parent
    return folder, ".".join(reversed(parts))


class RootFinder:
    """Imports from the folders of the jobs that were loaded, newest first, before what is installed.

    Unlike an entry in sys.path it never takes the place of the standard library or of what the engine needs: a stray
    `queue.py` in the current folder harms nobody.
    """

    def __init__(self) -> None:
        self.roots: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Give the spec of a top-level module in one of the roots, or None."""
        del target
        if path is not None or fullname in sys.stdlib_module_names or fullname in RESERVED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, self.roots)
        if spec is not None and spec.loader is None:  # a mere folder: what is installed under that name goes first
            installed = importlib.machinery.PathFinder.find_spec(fullname)
            return spec if installed is None or installed.loader is None else None
        return spec


_finder = RootFinder()


def add_root(root: Path) -> None:
    """Make the modules in the folder `root` importable, before those of earlier roots."""
    entry = str(root)
    _finder.roots = [entry, *(known for known in _finder.roots if known != entry)]
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def find_module(name: str) -> Module | None:
    """Find a module by its dotted name as this process would import it, or None. Imports nothing."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return Module(name, "stdlib")
    if top == "mapreduce":
        return Module(name, "engine")
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if spec is None and getattr(loaded, "__file__", None):
        return _describe(name, str(loaded.__file__), tuple(getattr(loaded, "__path__", ())))  # type: ignore[union-attr]
    if spec is None:
        spec = _find_spec(name)
    if spec is None:
        return None
    return _describe(name, spec.origin if spec.has_location else None, tuple(spec.submodule_search_locations or ()))


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    parent = name.rpartition(".")[0]
    if parent:
        found = find_module(parent)
        return importlib.machinery.PathFinder.find_spec(name, list(found.locations)) if found else None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a finder of another package fails, or a module without a spec is in the way
        return None


def _describe(name: str, origin: str | None, locations: tuple[str, ...]) -> Module:
    if origin is None:
        places = [place + os.sep for place in locations]
        if not places:
            return Module(name, "stdlib")  # builtin or frozen
        kind = "library" if all(is_library_file(place) for place in places) else "namespace"
        return Module(name, kind, "", is_package=True, locations=locations)
    is_package = bool(locations)
    if is_engine_file(origin):
        kind = "engine"
    elif is_library_file(origin):
        kind = "library"
    else:
        kind = "project" if origin.endswith(".py") else "compiled"
    return Module(name, kind, origin, is_package, locations)
