"""Where a job is found: a file, a module, a bundled demo, and in it a `job` or functions with the known names.

Owns the reading of JOB arguments and the import of the user's module, with errors that show the user's line first.
Refuses names that would take the place of other modules, and functions that look as if they belonged but do not.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from mapreduce.errors import JobDefinitionError, MapReduceError
from mapreduce.job import Job
from mapreduce.project import RESERVED, add_root, is_library_file, root_and_name
from mapreduce.quick_dataclass import dataclass
from mapreduce.tracebacks import user_frame, user_traceback

NEAR = 0.8  # of difflib's likeness: `reduce` and `reducr` are meant, `reducer_for_tests` and `mapping` need not be
FUNCTIONS = ("mapper", "combiner", "partitioner", "reducer")  # names that make a module a job
JOB = "job"
DEMOS = "mapreduce.demos"
_HOW = (
    "write `def mapper(line):` that yields (key, value) pairs (and `def reducer(key, values):`), "
    "or `job = Job(...)` with `from mapreduce import Job`"
)


class UnknownTarget(JobDefinitionError):
    """What should name a job names none: the command is wrong, and not the job."""


@dataclass(frozen=True, slots=True)
class LoadedTarget:
    """A job as found. `root` is the folder that its module is imported from (None for a demo).

    `attribute` is the Job's name in the module, or "" where the module's functions are the job.
    """

    job: Job
    name: str
    module: types.ModuleType
    root: Path | None
    attribute: str
    target: str


_ours: dict[str, types.ModuleType] = {}  # what load_job imported: imported afresh by the next, for files get edited


def load_job(target: str) -> LoadedTarget:
    """Find and import the job that `target` names: PATH.py, dotted.module or @demo, each with `:name` if wanted.

    A file inside packages is imported under its dotted name, so relative imports work; beside any other file its
    siblings can be imported, as with `python FILE`. A dotted module is looked for from the current folder, as with
    `python -m`. Raises UnknownTarget for no such file, module, demo or job, and JobDefinitionError where the module
    fails to import, is no job, or has a name that is taken.
    """
    place, attribute = _split_target(target)
    root: Path | None
    if place.startswith("@"):
        root, name = None, _demo_module(place[1:])
    elif place.endswith(".py") or "/" in place:
        root, name = _locate_file(place)
        add_root(root)
    else:
        root, name = Path.cwd(), place
        _check_dotted(place)
        add_root(root)
    module = _import(name, place, root)
    job = job_from_module(module, attribute)
    name_in_module = attribute or ("" if not isinstance(vars(module).get(JOB), Job) else JOB)
    return LoadedTarget(job, job.name, module, root, name_in_module, target)


def job_from_module(module: types.ModuleType, attribute: str | None = None) -> Job:
    """Give the job of an imported module: `attribute`, or its `job`, or one made of its functions.

    Raises UnknownTarget where `attribute` is none, or is needed to tell which; JobDefinitionError where there is no job
    at all, or where functions with known names are left unused beside one.
    """
    where = _place_of(module)
    content = vars(module)
    jobs = {name: value for name, value in content.items() if isinstance(value, Job)}
    functions = {name: content[name] for name in FUNCTIONS if content.get(name) is not None}
    if attribute:
        found = content.get(attribute)
        if not isinstance(found, Job):
            _refuse_attribute(where, attribute, found, jobs)
        return _named(found, module if attribute == JOB else attribute)
    if JOB in content and not isinstance(content[JOB], Job):
        msg = (
            f"`job` in {where} is {_kind_of(content[JOB])}, not a Job: write `job = Job(...)`, or give it another name"
        )
        raise JobDefinitionError(msg)
    if JOB in jobs:
        _refuse_strays(where, functions, jobs, content)
        return _named(jobs[JOB], module)
    if jobs:
        names = ", ".join(f"`{name}`" for name in jobs)
        msg = f"{where} has jobs named {names} and none named `job`: say which, as in {where}:{next(iter(jobs))}"
        raise UnknownTarget(msg)
    if "mapper" not in functions:
        raise JobDefinitionError(_nothing_there(where, functions, content))
    job = Job(**functions)
    job.module = module.__name__
    return _named(job, module)


def job_as_named(job: Job) -> Job:
    """The job, called as a target that finds it in its module would call it; one of a program or a function stays."""
    module = None if job.module in {None, "__main__"} else sys.modules.get(job.module or "")
    names = [name for name, value in vars(module).items() if value is job] if module is not None else []
    if module is None or not names:
        return job
    return _named(job, module if JOB in names else names[0])


def misspelt(module: types.ModuleType) -> tuple[str, ...]:
    """Say which functions of a module, whose functions are the job, have a name that is nearly one that it lacks."""
    content = vars(module)
    if any(isinstance(value, Job) for value in content.values()):
        return ()
    _, mentioned = _reached([content[name] for name in FUNCTIONS if content.get(name) is not None], content)
    found = []
    for name, value in content.items():
        if not (inspect.isfunction(value) or inspect.isclass(value)) or value.__module__ != module.__name__:
            continue
        near = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=NEAR)
        if near and near[0] not in content and name not in mentioned and not name.startswith("_"):
            found.append(
                f"{_place_of(module)} has `{name}`, which nothing uses, and no `{near[0]}`: if it is meant, call it so"
            )
    return tuple(found)


def demo_names() -> list[str]:
    """The names of the bundled demos, sorted."""
    package = importlib.import_module(DEMOS)
    found = pkgutil.iter_modules(package.__path__)
    return sorted(info.name for info in found if not info.ispkg and not info.name.startswith("_"))


def _named(job: Job, source: types.ModuleType | str) -> Job:
    if not job.named:
        job.name = source if isinstance(source, str) else source.__name__.rpartition(".")[2]
    return job


def _split_target(target: str) -> tuple[str, str | None]:
    place, colon, attribute = target.rpartition(":")
    if not colon:
        return target, None
    if not place or not attribute.isidentifier():
        msg = f"{target!r} names no job: write path/to/file.py, dotted.module or @demo, each with :name if wanted"
        raise UnknownTarget(msg)
    return place, attribute


def _demo_module(name: str) -> str:
    demos = demo_names()
    if name not in demos:
        near = difflib.get_close_matches(name, demos, n=1, cutoff=0.5)
        listed = ", ".join("@" + demo for demo in demos) or "none"
        hint = f"did you mean @{near[0]}? There are {listed}" if near else f"there are {listed}"
        msg = f"there is no demo @{name}: {hint}"
        raise UnknownTarget(msg)
    return f"{DEMOS}.{name}"


def _locate_file(place: str) -> tuple[Path, str]:
    path = Path(place).absolute()
    if not path.is_file():
        what = "is a folder, not a Python file" if path.is_dir() else f"does not exist in {path.parent}"
        near = _nearest(path)
        hint = f": did you mean {os.path.join(os.path.dirname(place.rstrip('/')), near)}?" if near else ""  # noqa: PTH118, PTH120 - Path would drop a ./
        msg = f"the job {place} {what}{hint}"
        raise UnknownTarget(msg)
    if path.suffix != ".py":
        msg = f"the job {place} is not a Python file: its name must end in .py"
        raise UnknownTarget(msg)
    path = path.parent.resolve() / path.name  # `..` and links in folders: one folder is one root
    root, name = root_and_name(path)
    if "." in path.stem:
        msg = f"the job {place} cannot be imported, because its name has a dot in it: rename it"
        raise JobDefinitionError(msg)
    _check_name(name, place)
    return root, name


def _nearest(path: Path) -> str:
    """The name of a Python file beside a path where there is none: its own name with .py, or one much like it."""
    beside = f"{path.name}.py"
    if path.with_name(beside).is_file():
        return beside
    names = [other.name for other in path.parent.glob("*.py")]
    return next(iter(difflib.get_close_matches(path.name, names, n=1, cutoff=NEAR)), "")


def _check_dotted(place: str) -> None:
    if not all(part.isidentifier() for part in place.split(".")):
        msg = f"{place!r} names no job: write path/to/file.py, dotted.module or @demo"
        raise UnknownTarget(msg)
    if not place.startswith(f"{DEMOS}."):
        _check_name(place, place, UnknownTarget)


def _check_name(name: str, place: str, kind: type[JobDefinitionError] = JobDefinitionError) -> None:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in RESERVED:
        owner = "Python's standard library has" if top in sys.stdlib_module_names else "the engine needs"
        msg = f"the job {place} would be imported as {top!r}, and {owner} a module of that name: rename it"
        raise kind(msg)


def _import(name: str, place: str, root: Path | None) -> types.ModuleType:
    """Import the user's module afresh. Raises JobDefinitionError with the user's line first."""
    for ours, module in _ours.items():
        if sys.modules.get(ours) is module:
            del sys.modules[ours]
    _ours.clear()
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        with contextlib.redirect_stdout(sys.stderr), _no_bytecode():  # what it prints must not be taken for results
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            _refuse_missing(place, error)
        _refuse_import(place, error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises is shown, and raised again
        _refuse_import(place, error)
    finally:
        for new in set(sys.modules) - before:
            file = getattr(sys.modules[new], "__file__", None)
            if file and root is not None and Path(file).is_relative_to(root) and not is_library_file(file):
                _ours[new] = sys.modules[new]
    _check_same_file(name, place, module)
    return module


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Leave no compiled files beside the user's: Python takes one for current if second and size of the source agree.

    An edit within a second, by a program, would go unseen, and a resumed job would use results of the old code.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _check_same_file(name: str, place: str, module: types.ModuleType) -> None:
    file = getattr(module, "__file__", None)
    if place.endswith(".py") and (file is None or not Path(place).samefile(file)):
        msg = f"the job {place} is imported as {name!r}, and there is another module of that name, {file}: rename one"
        raise JobDefinitionError(msg)


def _refuse_missing(place: str, error: ModuleNotFoundError) -> NoReturn:
    path = Path(place.replace(".", "/") + ".py")
    hint = f"; did you mean the file {path}?" if path.is_file() else " (a file is given with its .py)"
    msg = f"there is no module {place!r} in {Path.cwd()} or among what is installed{hint}"
    raise UnknownTarget(msg) from error


def _refuse_import(place: str, error: BaseException) -> NoReturn:
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename:
        head, line, text = f"{error.filename}, line {error.lineno}", error.text, error.msg
    else:
        frame = user_frame(error)
        head, line = (f"{frame.filename}, line {frame.lineno}", frame.line) if frame else (place, "")
    if isinstance(error, SystemExit):
        text = f"the module ends the program (exit code {error.code}): put that below `if __name__ == '__main__':`"
    if isinstance(error, MapReduceError):
        msg = f"{head}: {text}" + (f"\n    {line.strip()}" if line else "")
        raise JobDefinitionError(msg) from error
    msg = f"{head}: {type(error).__name__}: {text}"
    shown = user_traceback(error).rstrip("\n")
    if not shown.startswith("Traceback"):  # a syntax error of the very module: its place, its line, a caret, its text
        raise JobDefinitionError("\n".join([msg, *shown.splitlines()[1:-1]])) from error
    msg += f"\n    {line.strip()}" if line else ""
    raise JobDefinitionError(f"{msg}\nThis came up when the job {place} was imported:\n{shown}") from error


def _place_of(module: types.ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return Path(file).name if file else module.__name__


def _kind_of(value: object) -> str:
    if inspect.isroutine(value):
        return "a function"
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, type) else f"the class {value.__name__}"


def _refuse_attribute(where: str, attribute: str, found: object, jobs: dict[str, Job]) -> NoReturn:
    there = (
        f"it has the job{'' if len(jobs) == 1 else 's'} {', '.join(jobs)}"
        if jobs
        else "it has no Job; for its functions name the module alone"
    )
    what = f"has no {attribute!r}" if found is None else f"has {attribute!r}, which is {_kind_of(found)} and not a Job"
    msg = f"{where} {what}; {there}"
    raise UnknownTarget(msg)


def _nothing_there(where: str, functions: dict[str, Any], content: dict[str, Any]) -> str:
    if functions:
        return f"{where} has {' and '.join(functions)}, and no mapper: {_HOW}"
    own = [name for name, value in content.items() if inspect.isfunction(value) or inspect.isclass(value)]
    near = [name for name in own if difflib.get_close_matches(name.lower(), ("mapper", "map", "job"), n=1, cutoff=0.6)]
    hint = f" (it has `{near[0]}`: is that the mapper?)" if near else ""
    return f"{where} has no job{hint}: {_HOW}"


def _refuse_strays(where: str, functions: dict[str, Any], jobs: dict[str, Job], content: dict[str, Any]) -> None:
    """Refuse functions with known names that no job of the module uses: the user thinks that they run."""
    used: list[Any] = [call.function for job in jobs.values() for plan in job.resolved for call in plan.calls]
    used += [plan.reducer for job in jobs.values() for plan in job.resolved]
    objects, names = _reached(used, content)
    strays = [name for name, function in functions.items() if id(function) not in objects and name not in names]
    if strays:
        listed = " and ".join(f"`{name}`" for name in strays)
        parts = ", ".join(f"{name}={name}" for name in strays)
        msg = f"{where} has `job`, which does not use {listed} beside it: write job = Job({parts}, ...), or rename it"
        raise JobDefinitionError(msg)


def _reached(used: list[Any], content: dict[str, Any]) -> tuple[set[int], set[str]]:
    """The identities of the functions given and wrapped, and the names of the module that their code mentions."""
    objects: set[int] = set()
    names: set[str] = set()
    waiting = list(used)
    while waiting:
        function = waiting.pop()
        if id(function) in objects:
            continue
        objects.add(id(function))
        if isinstance(function, functools.partial):
            waiting += [function.func, *function.args, *function.keywords.values()]
        waiting += [inner for inner in (getattr(function, "__wrapped__", None),) if inner is not None]
        waiting += [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)]
        codes = [code for code in (getattr(function, "__code__", None),) if code is not None]
        while codes:
            code = codes.pop()
            names.update(code.co_names)
            codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        waiting += [content[name] for name in names if inspect.isfunction(content.get(name))]
    return objects, names


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that was never set
        return False
