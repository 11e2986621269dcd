"""Code that travels: the sources of a job's modules, or a pickle of a job that no module holds, with its options.

Owns the package that every task process loads (see `loader`). It is opaque to the coordinator, and has the same bytes
for the same code, parameters and options, but for classes of `__main__` (cloudpickle gives those random names).
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mapreduce.config import BLOB_BYTES
from mapreduce.errors import PackagingError
from mapreduce.imports import ModuleSource, Project, collect
from mapreduce.job import Job
from mapreduce.plan import TaskOptions
from mapreduce.project import find_module
from mapreduce.protocol.plain import pack
from mapreduce.targets import LoadedTarget

__all__ = ["ModuleSource", "Package", "SourceText", "build_package", "package_of"]


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text of a file or notebook cell whose functions travel by value: for tracebacks alone."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Package:
    """What a task process needs to run a job.

    The job is `target`, (module, attribute; "" for the module's functions), or else `job_pickle`. `params_pickle` holds
    its parameters, a dict. `requirements` are modules that the worker must be able to import; `python` is the client's,
    such as "3.11", which pickles of code need.
    """

    python: str
    modules: tuple[ModuleSource, ...]
    target: tuple[str, str] | None
    job_pickle: bytes
    params_pickle: bytes
    options: TaskOptions
    requirements: tuple[str, ...]
    sources: tuple[SourceText, ...] = ()


def build_package(job: Job | LoadedTarget, params: Mapping[str, Any], options: TaskOptions) -> bytes:
    """Pack a job's code with its parameters (converted, see `calls.convert_parameters`) and the tasks' options.

    Raises PackagingError naming the attribute, variable, module or package that cannot travel.
    """
    package = package_of(job, params, options)
    data = pack(package)
    if len(data) > BLOB_BYTES:
        msg = (
            f"the job's code and what it refers to is {len(data) >> 20} MB, and {BLOB_BYTES >> 20} MB can travel: "
            f"{_largest(package)}. Load large data inside the function that needs it, from a file"
        )
        raise PackagingError(msg)
    return data


def package_of(job: Job | LoadedTarget, params: Mapping[str, Any], options: TaskOptions) -> Package:
    """The Package that `build_package` packs. Raises PackagingError."""
    target = (job.module.__name__, job.attribute) if isinstance(job, LoadedTarget) else _home_of(job)
    starts: set[str] = set()
    sources: dict[str, str] = {}
    job_pickle = b""
    if target is None:
        from mapreduce.pickling import dump  # noqa: PLC0415 - only where a job travels by value

        pickled = dump(job, "the job")
        job_pickle, starts, sources = pickled.data, pickled.modules, pickled.sources
    else:
        starts.add(target[0])
    params_pickle = _pickle_params(params, starts, sources)
    project = collect(sorted(name for name in starts if name != "__main__"))
    _refuse_sourceless(starts, project)
    return Package(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        modules=tuple(module for _, module in sorted(project.modules.items())),
        target=target,
        job_pickle=job_pickle,
        params_pickle=params_pickle,
        options=options,
        requirements=tuple(sorted(project.requirements)),
        sources=tuple(SourceText(path, text) for path, text in sorted(sources.items()) if text),
    )


def _home_of(job: Job) -> tuple[str, str] | None:
    """Where an importable module holds this very job: (module, attribute), or None: then it travels by value."""
    module = sys.modules.get(job.module or "")
    if module is None or module.__name__ == "__main__":
        return None
    found = find_module(module.__name__)
    if found is None or found.kind not in {"project", "engine", "library"} or not found.path.endswith(".py"):
        return None
    return next(((module.__name__, name) for name, value in vars(module).items() if value is job), None)


def _pickle_params(params: Mapping[str, Any], starts: set[str], sources: dict[str, str]) -> bytes:
    """Pickle the parameters; `starts` and `sources` gain what those of the user's own types need."""
    ordered = dict(sorted(params.items()))
    if all(type(value) in {bool, int, float, str, type(None)} for value in ordered.values()):
        return pickle.dumps((ordered, {}), protocol=5)
    from mapreduce.pickling import dump  # noqa: PLC0415 - only for values of other types

    for name, value in ordered.items():
        dump(value, f"the parameter {name!r}")
    pickled = dump(ordered, "a parameter")
    starts |= pickled.modules
    sources |= pickled.sources
    return pickled.data


def _refuse_sourceless(starts: set[str], project: Project) -> None:
    for name in sorted(starts - {"__main__"} - set(project.modules)):
        if name in sys.modules and find_module(name) is None:
            msg = f"the job uses the module {name!r}, which has no source file, so it cannot travel: write it to a file"
            raise PackagingError(msg)


def _largest(package: Package) -> str:
    sizes = [(len(package.job_pickle), "the job's functions with the variables that they use")]
    sizes += [(len(package.params_pickle), "the parameters")]
    sizes += [(len(module.source), f"the module {module.path}") for module in package.modules]
    size, name = max(sizes)
    return f"{name}, {size >> 20} MB, is the largest part"
