"""What the results of a job's tasks depend on beside their input, as digests by name: equal digests, equal results.

A map result of a failed job is used again where the digests of its step's map side are those of the new job. So they
cover the functions with all that they reach, parameters, formats, options, versions, and whatever the modules do when
they are imported; not the reducer, the output, or how many bad records are allowed. Runs none of the user's functions.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import locale
import os
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from types import FunctionType
from typing import Any

import msgpack

from mapreduce.aggregators import Aggregator
from mapreduce.calls import CONTEXT, Call
from mapreduce.identity.code import attributes_read_of
from mapreduce.identity.effects import effects
from mapreduce.identity.kinds import OF_SHELLS
from mapreduce.identity.walk import Fingerprint, fingerprint, fingerprint_of_code, fingerprint_of_values
from mapreduce.job import Job
from mapreduce.plan import UNJUDGED, UNKNOWN, StepIdentity, TaskOptions
from mapreduce.step import StepPlan
from mapreduce.travel.imports import ModuleSource
from mapreduce.travel.package import Package
from mapreduce.versions import own_versions

# Of TaskOptions: what no map result depends on. Whatever is added to them counts until it is named here.
NO_MATTER = frozenset(
    {
        "job",
        "output",
        "output_format",
        "overwrite",
        "outputs",
        "inputs",  # which input a task reads is in its split
        "origin",
        "durable",
        "keep",
        "part_size",
        "max_bad",
        "steps",  # of which the own step counts
        "identities",
        "resumes",
    }
)
COMMON = ("versions", "options", "files", "module code", "environment")  # what all steps share
VARIABLE = "environment variable"  # how the facts of those that are read are called
# What functions may read of `ctx` and not come by the job's parameters.
NO_PARAMETERS = frozenset(
    {"counters", "path", "offset", "random", "task", "index", "attempt", "previous", "files", "outputs", "warn()"}
)
PARTITIONING = ("maps", "reduces")  # of a step's shape: its title is for people
REASON_CHARS = 200  # of why something could not be judged


def identities_of(
    job: Job, options: TaskOptions, params: Mapping[str, Any], package: Package, files: str
) -> tuple[StepIdentity, ...]:
    """The identity of each step. `files` is the sum of the files that travel with the job, "" for none."""
    whole = _AllCode(package)
    at_import, read_at_import = whole.effects()
    common = {
        "versions": _sum(sorted(_versions().items())),
        "options": _sum(_options(options)),
        "files": files,
        "module code": at_import,
        "environment": _sum(_environment()),
        **_variables(read_at_import),
    }
    found = []
    for plan, shape in zip(job.resolved, options.steps, strict=True):
        maps, reduces = _sides(plan, params)
        maps["reduce tasks"] = (plan.map_only, *(getattr(shape, name) for name in PARTITIONING))
        found.append(
            StepIdentity(
                maps=_facts(maps, whole) | common,
                reduces=_facts(reduces, whole, "reducer's "),
            )
        )
    return tuple(found)


def changed_since(former: tuple[StepIdentity, ...], now: tuple[StepIdentity, ...]) -> tuple[str, ...]:
    """Name what differs between the identities of two jobs, such as "mapper" and "reducer of step 2"."""
    if len(former) != len(now):
        return ("number of steps",)
    names: dict[str, None] = {}
    for number, (old, new) in enumerate(zip(former, now, strict=True), 1):
        for name in (*_differences(old.maps, new.maps), *_differences(old.reduces, new.reduces)):
            told = name in COMMON or (name in names and name.startswith(VARIABLE))
            of = f" of step {number}" if number > 1 and not told else ""
            digests = (new.maps | new.reduces).get(name, "")
            names[f"{name}{of}{UNJUDGED if digests.startswith(UNKNOWN) else ''}"] = None
    return tuple(names)


def unjudged(plan: StepPlan) -> tuple[str, bool]:
    """Why all of the job's code counts for the results of a step's map tasks, and whether not even that says enough.

    ("", False) where it can be told what they reach.
    """
    maps, _ = _sides(plan, {})
    found = [(name, fingerprint(value)) for name, value in maps.items()]
    for name, one in sorted(found, key=lambda pair: not pair[1].unknown):
        if one.unjudged:
            return f"{name}: {one.unjudged}", one.unknown
    return "", False


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    names = [name for name in dict.fromkeys((*old, *new)) if VARIABLE not in name or (name in old and name in new)]
    return tuple(n for n in names if old.get(n) != new.get(n) or new.get(n, "").startswith(UNKNOWN))


def _sides(plan: StepPlan, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the results of a step's map tasks depend on, by name, and what those of its reduce tasks do beside that."""
    maps: dict[str, Any] = {}
    calls: list[Call] = []
    for source in plan.inputs:
        of = f" of {source.name}" if source.name else ""
        maps[f"mapper{of}"] = (_call(source.mapper), source.mapper_kind, source.batch_size, source.frames)
        maps[f"format{of}"] = (repr(source.format), source.name)
        calls += [source.mapper] if source.mapper is not None else []
    maps["combiner"] = (_call(plan.combiner), plan.frames)
    maps["partitioner"] = _call(plan.partitioner)
    maps["sort_values"] = _call(plan.sort_values)
    reducer = plan.reducer
    folds = isinstance(reducer, Aggregator) or plan.broadcasts
    maps["aggregator"] = reducer if folds else None
    calls += [call for call in (plan.combiner, plan.partitioner, plan.sort_values) if isinstance(call, Call)]
    maps["parameters"] = _parameters(calls, params)
    reduces = {"reducer": None if folds else _call(reducer)}
    reduces["parameters of the reducer"] = _parameters([reducer], params) if isinstance(reducer, Call) else {}
    return maps, reduces


def _call(call: object) -> object:
    """What a step calls, as it is called."""
    if not isinstance(call, Call):
        return call
    return (call.function, call.role, call.positional, call.groups, call.wants_context)


def _parameters(calls: list[Call], params: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters that some functions take: of all, where one may look into `ctx.params`."""
    taken = {parameter.name for call in calls for parameter in call.parameters}
    if not taken.issuperset(params) and any(_may_look_at_params(call) for call in calls):
        taken.update(params)
    return {name: value for name, value in sorted(params.items()) if name in taken}


def _may_look_at_params(call: Call) -> bool:
    """Whether a function that takes `ctx` may do more with it than read what is no parameter."""
    if not call.wants_context:
        return False
    read = attributes_read_of(call.function.__code__, CONTEXT) if isinstance(call.function, FunctionType) else None
    if read is None or not read <= NO_PARAMETERS:
        return True
    found = fingerprint(call.function)
    return found.sees_locals or bool(found.unjudged)


def _facts(values: Mapping[str, object], whole: _AllCode, of: str = "") -> dict[str, str]:
    """What each value comes to, and the variables of the environment that are read: `of` is said of these."""
    facts: dict[str, str] = {}
    read: set[str | None] = set()
    for name, value in values.items():
        found = fingerprint(value)
        facts[name] = _told(found, whole)
        read |= _read(found)
    return facts | {f"{of}{name}": digest for name, digest in _variables(read).items()}


def _read(found: Fingerprint) -> frozenset[str | None]:
    """The variables that are read: all of them where all code counts, since it cannot be told what that does."""
    return found.variables | {None} if found.unjudged and not found.unknown else found.variables


def _variables(names: set[str | None]) -> dict[str, str]:
    """The values of some variables of the environment; None is for all, but for what shells set for themselves."""
    found = dict(os.environ)
    if None in names:
        return {f"{VARIABLE}s": _sum(sorted(pair for pair in found.items() if pair[0] not in OF_SHELLS))}
    return {f"{VARIABLE} {name}": _sum(found.get(name)) for name in sorted(filter(None, names))}


def _told(found: Fingerprint, whole: _AllCode) -> str:
    """A digest; of what cannot be judged that of all the job's code, and why; UNKNOWN if that says nothing either."""
    if not found.unjudged:
        return found.sha256
    return f"{UNKNOWN if found.unknown else whole.digest} {found.unjudged[:REASON_CHARS]}"


def _options(options: TaskOptions) -> list[tuple[str, str]]:
    """The options that matter, as text: they are plain values and dataclasses of such."""
    names = [field.name for field in dataclasses.fields(options) if field.name not in NO_MATTER]
    return [(name, repr(getattr(options, name))) for name in sorted(names)]


def _versions() -> dict[str, str]:
    return own_versions() | {"numpy": metadata.version("numpy"), "python": sys.version}


class _AllCode:
    """All code that travels, and what its modules hold: it counts in place of what cannot be judged."""

    def __init__(self, package: Package) -> None:
        self._package = package

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all of it; one that is UNKNOWN if values cannot be judged, or come when a function imports."""
        package, held = self._package, []
        for source in package.modules:
            module = sys.modules.get(source.name)
            if module is not None:
                held.append(vars(module))
            elif self._does_more(source):
                return f"{UNKNOWN} what the module {source.name} does when a function imports it"
        values = fingerprint_of_values(held)
        if values.unjudged:
            return _told(values, self)
        modules = [(module.name, module.source) for module in package.modules]
        return _sum(
            [modules, list(package.target or ()), package.job_pickle, list(package.requirements), values.sha256]
        )

    def _does_more(self, source: ModuleSource) -> bool:
        try:
            return effects(source.source, source.path, {}) is not None
        except (SyntaxError, ValueError, RecursionError):
            return True

    def effects(self) -> tuple[str, set[str | None]]:
        """A digest of what the project's modules do when they are imported, and the variables that this reads."""
        found: list[tuple[str, str]] = []
        read: set[str | None] = set()
        for source in self._package.modules:
            module = sys.modules.get(source.name)
            if module is None:
                continue  # not imported by importing the job: a function that does so cannot be judged
            try:
                code = effects(source.source, source.path, vars(module))
            except (SyntaxError, ValueError, RecursionError) as error:  # it was edited after it had been imported
                return f"{UNKNOWN} the module {source.name}: {error}", read
            if code is None:
                continue
            reached = fingerprint_of_code(code, vars(module))
            told = _told(reached, self)
            if told.startswith(UNKNOWN):
                return told, read
            found.append((source.name, told))
            read |= _read(reached)
        return _sum(found), read


def _environment() -> list[str]:
    """What functions of the standard library go by without being told: the time zone, the encoding of files."""
    return [os.environ.get("TZ", ""), *time.tzname, str(time.timezone), locale.getencoding()]


def _sum(plain: object) -> str:
    data: bytes = msgpack.packb(plain, use_bin_type=True, unicode_errors="surrogatepass")
    return hashlib.sha256(data).hexdigest()
