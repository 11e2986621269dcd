"""Which modules a job's code imports, found by reading its source: lazy imports inside functions count as well.

Owns the walk from the job's modules over the project, and the split of what it finds into sources that travel and
packages that every worker must have. Imports nothing itself. Data files beside the code do not travel.
"""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path

from mapreduce.errors import PackagingError
from mapreduce.project import RESERVED, Module, find_module, root_and_name
from mapreduce.quick_dataclass import dataclass
from mapreduce.syntax import tree_of

PARSED = 1000  # sources whose imports are remembered: a program that runs a job again and again has its project there
MODULES = 5000  # that travel: far more than a project has, so beyond it a folder was taken for a package by mistake


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module that travels: `source` is its file's bytes, `path` where it lies at the client (for tracebacks)."""

    name: str
    path: str
    source: bytes
    is_package: bool


@dataclass(slots=True)
class Project:
    """What a job's code consists of: modules that travel by name, and names that a worker must be able to import."""

    modules: dict[str, ModuleSource] = field(default_factory=dict)
    requirements: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Import:
    name: str
    required: bool  # not inside `try: ... except ImportError`


def collect(names: Iterable[str]) -> Project:
    """Collect the project modules among `names` and all that they import, and the installed packages they need.

    A module of a package brings the whole package. Raises PackagingError naming a module that cannot travel.
    """
    walk = _Walk(Project())
    for name in names:
        walk.visit(name, required=True, importer=None)
    walk.run()
    return walk.project


class _Walk:
    def __init__(self, project: Project) -> None:
        self.project = project
        self._found: dict[str, Module | None] = {}
        self._waiting: list[Module] = []
        self._entered: set[str] = set()

    def visit(self, name: str, *, required: bool, importer: Module | None) -> None:
        """Take note of one import. Importing a.b.c imports a and a.b before."""
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            prefix = ".".join(parts[:length])
            found = self._find(prefix)
            if found is None and prefix != name and name in sys.modules:
                continue  # a parent that exists in this process alone, as test runners make them
            if found is None:
                return  # it fails in this process as well, or is an attribute and no module
            if found.kind in {"project", "namespace"}:
                self._enter(found)
                continue
            if found.kind == "stdlib" and importer is not None:
                _refuse_rival(prefix, importer)
            if found.kind == "compiled":
                self.project.requirements.add(prefix)
            elif found.kind == "library" and required and parts[0] not in RESERVED:  # those come with the engine
                self.project.requirements.add(parts[0])
            return

    def run(self) -> None:
        """Read every module met until there are no new ones."""
        while self._waiting:
            module = self._waiting.pop()
            source = self.project.modules[module.name].source
            for found in _imports(source, module.name, module.is_package):
                self.visit(found.name, required=found.required, importer=module)

    def _find(self, name: str) -> Module | None:
        if name not in self._found:
            self._found[name] = find_module(name)
        return self._found[name]

    def _enter(self, module: Module) -> None:
        if module.name in self._entered:
            return
        self._entered.add(module.name)
        if module.kind == "namespace":
            return
        top = module.name.partition(".")[0]
        if top in RESERVED:
            msg = f"the module {module.path} is called {top!r}, a name that the engine needs: rename it"
            raise PackagingError(msg)
        self._add(module.name, module.path, is_package=module.is_package)
        self._waiting.append(module)
        if module.is_package and "." not in module.name:
            for name, path, is_package in _tree(module.name, Path(module.path).parent):
                self._add(name, path, is_package=is_package)

    def _add(self, name: str, path: str, *, is_package: bool) -> None:
        if name in self.project.modules:
            return
        if len(self.project.modules) >= MODULES:
            msg = f"the job's project has more than {MODULES} modules ({path} is one): give the job its own folder"
            raise PackagingError(msg)
        try:
            source = Path(path).read_bytes()
        except OSError as error:
            msg = f"the module {name} cannot travel: its source {path} cannot be read ({error.strerror})"
            raise PackagingError(msg) from error
        self.project.modules[name] = ModuleSource(name, path, source, is_package)


def _tree(package: str, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """(dotted name, path, is package) of every module below a package's folder that can be imported, in order."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name.isidentifier() and entry.name != "__pycache__":
                yield from _tree(f"{package}.{entry.name}", Path(entry.path))
        elif entry.name.endswith(".py") and entry.name[:-3].isidentifier():
            is_package = entry.name == "__init__.py"
            yield package if is_package else f"{package}.{entry.name[:-3]}", entry.path, is_package


def _refuse_rival(name: str, importer: Module) -> None:
    """Refuse `import queue` beside a `queue.py` of the user's: which is meant differs between ways to start Python."""
    root, _ = root_and_name(Path(importer.path))
    for rival in (root / f"{name}.py", root / name / "__init__.py"):
        if "." not in name and rival.is_file() and str(rival) != importer.path:
            msg = (
                f"{importer.path} imports {name!r}, the standard library's, and {rival} has the same name: rename yours"
            )
            raise PackagingError(msg)


@functools.lru_cache(maxsize=PARSED)
def _imports(source: bytes, name: str, is_package: bool) -> tuple[_Import, ...]:
    try:
        tree = tree_of(source)
    except SyntaxError:
        return ()  # imported lazily, if ever: then it raises there, as it would here
    package = name if is_package else name.rpartition(".")[0]
    return tuple(_in_block(tree.body, package, required=True))


def _in_block(nodes: Iterable[ast.AST], package: str, *, required: bool) -> Iterator[_Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name, required) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _import_from(node, package, required=required)
        elif isinstance(node, ast.Try):
            forgiven = any(_forgives(handler) for handler in node.handlers)
            yield from _in_block(node.body, package, required=required and not forgiven)
            yield from _in_block([*node.handlers, *node.orelse, *node.finalbody], package, required=required)
        elif isinstance(node, ast.If) and _is_never_run(node.test):
            yield from _in_block(node.orelse, package, required=required)
        else:
            if isinstance(node, ast.Call):
                yield from _dynamic(node, required=required)
            yield from _in_block(ast.iter_child_nodes(node), package, required=required)


def _import_from(node: ast.ImportFrom, package: str, *, required: bool) -> Iterator[_Import]:
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        kept = parents[: len(parents) - node.level + 1]
        base = ".".join([*kept, *([base] if base else [])])
    if base:
        yield _Import(base, required)
        yield from (_Import(f"{base}.{alias.name}", required) for alias in node.names if alias.name != "*")


def _dynamic(node: ast.Call, *, required: bool) -> Iterator[_Import]:
    """Give `importlib.import_module("name")` and `__import__("name")` with the name written out."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in {"import_module", "__import__"} and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
            yield _Import(first.value, required)


def _forgives(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches a failed import."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {getattr(item, "id", getattr(item, "attr", None)) for item in caught}
    return handler.type is None or bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _is_never_run(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING` or `__name__ == "__main__"`: false in every task."""
    if getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING":
        return True
    return isinstance(test, ast.Compare) and getattr(test.left, "id", None) == "__name__"
