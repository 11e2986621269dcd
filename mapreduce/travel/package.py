"""Code that travels: the sources of a job's modules, or a pickle of a job that no module holds; and a run's setup.

Owns the package and the setup that every task process loads (see `loader`). Both are opaque to the coordinator. The
package has the same bytes for the same code, but for classes of `__main__` (cloudpickle gives those random names, once
a process): all that differs between runs of a job, its parameters and options, is in the setup.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mapreduce.aggregators import packages_wanted_by
from mapreduce.config import BLOB_BYTES
from mapreduce.errors import PackagingError
from mapreduce.job import Job
from mapreduce.plan import TaskOptions
from mapreduce.project import find_module
from mapreduce.protocol.plain import pack, unpack
from mapreduce.quick_dataclass import dataclass
from mapreduce.targets import LoadedTarget
from mapreduce.travel.imports import ModuleSource, Project, collect
from mapreduce.urls import check_utf8

__all__ = [
    "ModuleSource",
    "Package",
    "Setup",
    "SourceText",
    "build_package",
    "build_setup",
    "package_of",
    "setup_of",
]


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text of a file or notebook cell whose functions travel by value: for tracebacks alone."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Package:
    """A job's code, the same for each of its runs.

    The job is `target`, (module, attribute; "" for the module's functions), or else `job_pickle`. `requirements` are
    modules that the worker must be able to import; `python` is the client's, such as "3.11", which pickles of code
    need.
    """

    python: str
    modules: tuple[ModuleSource, ...]
    target: tuple[str, str] | None
    job_pickle: bytes
    requirements: tuple[str, ...]
    sources: tuple[SourceText, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """What one run of a job has of its own.

    `params_pickle` holds the parameters, a dict. `modules`, `requirements` and `sources` are what the parameters' own
    types need beyond the job's package.
    """

    params_pickle: bytes
    options: TaskOptions
    modules: tuple[ModuleSource, ...] = ()
    requirements: tuple[str, ...] = ()
    sources: tuple[SourceText, ...] = ()


def build_package(job: Job | LoadedTarget) -> bytes:
    """Pack a job's code. Raises PackagingError naming the attribute, variable, module or package that cannot travel."""
    package = package_of(job)
    sizes = [(len(package.job_pickle), "the job's functions with the variables that they use")]
    return _packed(package, "the job's code and what it refers to is", sizes, package.modules)


def build_setup(params: Mapping[str, Any], options: TaskOptions, package: bytes) -> bytes:
    """Pack a run's parameters (converted, see `calls.convert_parameters`) and options beside what `build_package` made.

    Raises PackagingError naming what cannot travel.
    """
    setup = setup_of(params, options, package)
    return _packed(setup, "the job's parameters are", [(len(setup.params_pickle), "their values")], setup.modules)


def _packed(blob: Package | Setup, what: str, sizes: list[tuple[int, str]], modules: Sequence[ModuleSource]) -> bytes:
    for path in (*(module.path for module in modules), *(source.path for source in blob.sources)):
        check_utf8(path, "file, or the folder that it lies in", PackagingError)
    data = pack(blob)
    if len(data) > BLOB_BYTES:
        size, name = max(sizes + [(len(module.source), f"the module {module.path}") for module in modules])
        msg = (
            f"{what} {len(data) >> 20} MB, and {BLOB_BYTES >> 20} MB can travel: {name}, {size >> 20} MB, is the "
            f"largest part. Load large data inside the function that needs it, from a file"
        )
        raise PackagingError(msg)
    return data


def package_of(job: Job | LoadedTarget) -> Package:
    """The Package that `build_package` packs. Raises PackagingError."""
    target = (job.module.__name__, job.attribute) if isinstance(job, LoadedTarget) else _home_of(job)
    starts: set[str] = set()
    sources: dict[str, str] = {}
    job_pickle = b""
    if target is None:
        from mapreduce.travel.pickling import dump  # noqa: PLC0415 - only where a job travels by value

        pickled = dump(job, "the job")
        job_pickle, starts, sources = pickled.data, pickled.modules, pickled.sources
    else:
        starts.add(target[0])
    project = _collect(starts)
    return Package(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        modules=tuple(module for _, module in sorted(project.modules.items())),
        target=target,
        job_pickle=job_pickle,
        requirements=tuple(sorted(project.requirements | _aggregators_packages(job))),
        sources=_texts(sources),
    )


def _aggregators_packages(job: Job | LoadedTarget) -> set[str]:
    """The packages that the job's aggregators need beside the engine."""
    plans = (job.job if isinstance(job, LoadedTarget) else job).resolved
    return set().union(*[packages_wanted_by(plan.reducer) for plan in plans])


def setup_of(params: Mapping[str, Any], options: TaskOptions, package: bytes) -> Setup:
    """The Setup that `build_setup` packs. Raises PackagingError."""
    ordered = dict(sorted(params.items()))
    if all(type(value) in {bool, int, float, str, type(None)} for value in ordered.values()):
        return Setup(pickle.dumps((ordered, {}), protocol=5), options)
    from mapreduce.travel.pickling import dump  # noqa: PLC0415 - only for values of other types

    try:
        pickled = dump(ordered, "a parameter")
    except PackagingError:
        for name, value in ordered.items():
            dump(value, f"the parameter {name!r}")  # raises for the one that cannot travel
        raise
    project = _collect(pickled.modules)
    code = unpack(Package, package) if project.modules or project.requirements else None
    have = {module.name for module in code.modules} if code else set()
    return Setup(
        params_pickle=pickled.data,
        options=options,
        modules=tuple(module for name, module in sorted(project.modules.items()) if name not in have),
        requirements=tuple(sorted(project.requirements - set(code.requirements if code else ()))),
        sources=_texts(pickled.sources),
    )


def _collect(starts: set[str]) -> Project:
    project = collect(sorted(name for name in starts if name != "__main__"))
    _refuse_sourceless(starts, project)
    return project


def _texts(sources: Mapping[str, str]) -> tuple[SourceText, ...]:
    return tuple(SourceText(path, text) for path, text in sorted(sources.items()) if text)


def _home_of(job: Job) -> tuple[str, str] | None:
    """Where an importable module holds this very job: (module, attribute), or None: then it travels by value."""
    module = sys.modules.get(job.module or "")
    if module is None or module.__name__ == "__main__":
        return None
    found = find_module(module.__name__)
    if found is None or found.kind not in {"project", "engine", "library"} or not found.path.endswith(".py"):
        return None
    return next(((module.__name__, name) for name, value in vars(module).items() if value is job), None)


def _refuse_sourceless(starts: set[str], project: Project) -> None:
    for name in sorted(starts - {"__main__"} - set(project.modules)):
        if name in sys.modules and find_module(name) is None:
            msg = f"the job uses the module {name!r}, which has no source file, so it cannot travel: write it to a file"
            raise PackagingError(msg)
