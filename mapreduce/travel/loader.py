"""Loads a travelled job in a task process: an importer that serves its modules from memory, under their own names.

Owns `sys.meta_path` and `linecache` in a process that serves one job's code. Nothing is written to disk, and none of
the project needs to be installed. Not for the client's process, where it would import everything a second time.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import linecache
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from mapreduce.errors import MapReduceError, PackagingError
from mapreduce.job import Job
from mapreduce.plan import TaskOptions
from mapreduce.protocol.plain import unpack
from mapreduce.quick_dataclass import dataclass
from mapreduce.targets import job_from_module
from mapreduce.tracebacks import user_traceback
from mapreduce.travel.package import ModuleSource, Package, Setup, SourceText


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job ready to run: `params` are its parameters (those that are set), typed; `files` what travelled with it.

    `memo` holds what one attempt leaves for the next ones of the same run in this process.
    """

    job: Job
    params: dict[str, Any]
    options: TaskOptions
    files: Mapping[str, Path] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


class SourceFinder:
    """Finds and loads modules from their sources in memory; tracebacks and `inspect.getsource` see the source."""

    def __init__(self, modules: Sequence[ModuleSource], requirements: Sequence[str]) -> None:
        self._modules = {module.name: module for module in modules}
        # folders of packages that have compiled modules, which are looked for where they lie
        self._on_disk = {name.rpartition(".")[0] for name in requirements}
        self._namespaces = {
            ".".join(parts[:length])
            for parts in (name.split(".") for name in self._modules)
            for length in range(1, len(parts))
        } - set(self._modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Give the spec of a module that travelled, or None."""
        del target
        if fullname in self._namespaces:
            installed = importlib.machinery.PathFinder.find_spec(fullname, path)
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = list((installed and installed.submodule_search_locations) or ())
            return spec
        module = self._modules.get(fullname)
        if module is None:
            return None
        loader: Any = self  # it has what a loader must have; importlib.abc takes 20 ms to import
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=module.path, is_package=module.is_package)
        spec.has_location = True
        if module.is_package and fullname in self._on_disk:
            spec.submodule_search_locations = [str(Path(module.path).parent)]
        return spec

    def get_source(self, fullname: str) -> str:
        """Give a module's text, as `linecache` and `inspect` want it."""
        return importlib.util.decode_source(self._modules[fullname].source)

    def get_code(self, fullname: str) -> types.CodeType:
        """Compile a module. Raises SyntaxError."""
        module = self._modules[fullname]
        code: types.CodeType = compile(module.source, module.path, "exec", dont_inherit=True)
        return code

    def is_package(self, fullname: str) -> bool:
        """Whether it is a package."""
        return self._modules[fullname].is_package

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """Leave it to the import system to make the module."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a module's code in it."""
        name = module.__name__
        remember_source(self._modules[name].path, self.get_source(name))
        exec(self.get_code(name), vars(module))  # noqa: S102 - this is what importing is

    def serves(self, fullname: str) -> bool:
        """Whether a module of this name travelled."""
        return fullname in self._modules

    @property
    def tops(self) -> set[str]:
        """The top-level names that it serves."""
        return {name.partition(".")[0] for name in self._modules}


_former_main: list[types.ModuleType] = []  # kept alive: functions of it may still run


def remember_source(path: str, text: str) -> None:
    """Let tracebacks show `text` for `path`, even where another file of that name lies on this machine."""
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


class LoadedCode:
    """A job's code, loaded in this process for good; each run of the job is a `setup` of it."""

    def __init__(self, data: bytes) -> None:
        """Install a package in this process and load its job. Once in a process, which then serves this code alone.

        Raises PackagingError naming what is missing here (a package, another Python), or with the traceback of the
        user's module, where that fails to import here.
        """
        package = unpack(Package, data)
        self._finder = install(package)
        self._extra: SourceFinder | None = None
        self._extra_modules: tuple[ModuleSource, ...] = ()
        what = package.target[0] if package.target else "the job's functions"
        with _told(what):
            _replace_main()
            self.job = _job_of(package)

    def setup(self, data: bytes, files: Mapping[str, Path]) -> LoadedJob:
        """Give the job with a run's parameters and options. Raises PackagingError as loading does."""
        setup = unpack(Setup, data)
        self._install_extra(setup)
        with _told("what the job's parameters are"):
            params = _unpickle(setup.params_pickle)
        return LoadedJob(self.job, params, setup.options, files)

    def _install_extra(self, setup: Setup) -> None:
        """Make the modules of the parameters' types importable, in place of those of the run before."""
        if setup.modules != self._extra_modules:
            if self._extra is not None:
                sys.meta_path.remove(self._extra)
            self._extra, self._extra_modules = SourceFinder(setup.modules, setup.requirements), setup.modules
            _forget(self._extra, self._finder.tops)
            sys.meta_path.insert(0, self._extra)
        _remember_sources(setup.sources)
        _require(setup.requirements)


def load(code: bytes, setup: bytes, files: Mapping[str, Path] | None = None) -> LoadedJob:
    """Load a job's code and one run's setup, in a process that has loaded nothing yet. Raises PackagingError."""
    return LoadedCode(code).setup(setup, files or {})


def install(package: Package) -> SourceFinder:
    """Make a package's modules importable here, in front of anything else of their names.

    Raises PackagingError naming a required package that is missing, or the Python that is wanted.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if package.job_pickle and package.python != here:
        msg = f"the job was made with Python {package.python} and this worker runs {here}: functions cannot cross that"
        raise PackagingError(msg)
    finder = SourceFinder(package.modules, package.requirements)
    _forget(finder, set())
    sys.meta_path.insert(0, finder)
    _remember_sources(package.sources)
    _require(package.requirements)
    return finder


def _forget(finder: SourceFinder, shared: set[str]) -> None:
    """Forget what is imported under the names that a finder is to serve, such as our own `workers`.

    Of the top-level names in `shared` another finder serves modules as well, which stay.
    """
    tops = finder.tops - shared
    for name in [name for name in sys.modules if name.partition(".")[0] in tops or finder.serves(name)]:
        del sys.modules[name]


def _remember_sources(sources: Sequence[SourceText]) -> None:
    for source in sources:
        remember_source(source.path, source.text)


def _require(requirements: Sequence[str]) -> None:
    missing = [name for name in requirements if not _is_importable(name)]
    if missing:
        names = ", ".join(repr(name) for name in missing)
        msg = (
            f"the job imports {names}, which {'is' if len(missing) == 1 else 'are'} not installed for the Python of "
            f"this worker ({sys.executable}): install it there, and start the worker again"
        )
        raise PackagingError(msg)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say of the user's code that it failed while it was loaded."""
    try:
        yield
    except MapReduceError:
        raise
    except Exception as error:
        msg = f"{what} cannot be loaded on this worker:\n{user_traceback(error)}"
        raise PackagingError(msg) from error


def _job_of(package: Package) -> Job:
    if package.target is not None:
        module, attribute = package.target
        return job_from_module(importlib.import_module(module), attribute or None)
    job = _unpickle(package.job_pickle)
    if not isinstance(job, Job):
        msg = "the package holds no job"
        raise PackagingError(msg)
    return job


def _replace_main() -> None:
    """Put an empty `__main__` in place: that of this process is none of the user's business."""
    if "__main__" in sys.modules:
        _former_main.append(sys.modules["__main__"])
    sys.modules["__main__"] = types.ModuleType("__main__")


def _unpickle(data: bytes) -> Any:
    """Load what `pickling.dump` made; pickles of values then find the user's classes in `__main__`."""
    value, classes = pickle.loads(data)  # noqa: S301 - a task process runs this user's code anyway
    vars(sys.modules["__main__"]).update(classes)
    return value


def _is_importable(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
