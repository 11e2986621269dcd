"""What a job is, as plain data and as text: steps, functions, parameters, options, and the code that will travel."""

from __future__ import annotations

from mapreduce.calls import Call, title_of
from mapreduce.errors import PackagingError
from mapreduce.formats import Columnar, Csv, Files, FixedLength, Format, JsonLines, Msgpack, Parquet, Records
from mapreduce.identity.steps import unjudged
from mapreduce.job import Job, StepPlan
from mapreduce.joins import Join
from mapreduce.partitioners import ListPartitioner, RangePartitioner
from mapreduce.quick_dataclass import dataclass
from mapreduce.step import InputPlan
from mapreduce.targets import LoadedTarget, misspelt
from mapreduce.travel.package import package_of

_KINDS = {
    "pairs": "gives (key, value) pairs",
    "keys": "gives keys",
    "records": "gives values, which are the output",
    "identity": "passes records on as they are",
}


@dataclass(frozen=True, slots=True)
class FunctionDescription:
    """One function of a step. `takes` is what it is called with."""

    role: str
    name: str
    takes: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class StepDescription:
    """One step: its functions in the order of the flow."""

    functions: tuple[FunctionDescription, ...]
    map_only: bool


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """A parameter of the job; `default` is a repr, or None where it must be given."""

    name: str
    type: str
    default: str | None
    owner: str


@dataclass(frozen=True, slots=True)
class JobDescription:
    """A job in plain data.

    `inputs` are (name, format), the name "" for one alone; `outputs` too, the results' first, named "". `modules` are
    (name, path) of the sources that travel; `packages` must be on each worker.

    `resume` says which edits let a failed job's map results be used again. `by_value` says that the job itself travels
    as a pickle; `problem` why it cannot travel, or "". `notes` are what may be a mistake.
    """

    name: str
    about: str
    steps: tuple[StepDescription, ...]
    parameters: tuple[ParameterDescription, ...]
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    reducers: int | None
    split_size: int | None
    part_size: int | None
    seed: int
    resume: str
    modules: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]
    by_value: bool
    problem: str
    notes: tuple[str, ...] = ()

    def render(self) -> str:
        """The description as lines of text for a terminal."""
        lines = [f"{self.name}" + (f": {self.about}" if self.about else ""), ""]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"step {number}" + (" (map-only)" if step.map_only else ""))
            for function in step.functions:
                about = f": {function.about}" if function.about else ""
                lines.append(f"  {function.role:<12}{function.name}{function.takes}{about}")
        lines += ["", "parameters" + ("" if self.parameters else ": none")]
        for parameter in self.parameters:
            default = "must be given" if parameter.default is None else f"default {parameter.default}"
            lines.append(f"  -p {parameter.name}=  {parameter.type}, {default} ({parameter.owner})")
        lines.append("")
        lines += [f"input       {f'{name}: ' if name else ''}{text}" for name, text in self.inputs]
        lines += [f"output      {f'{name}: ' if name else ''}{text}" for name, text in self.outputs]
        if not all(step.map_only for step in self.steps):
            lines.append(f"reducers    {self.reducers or 'from the size of the input'}")
        lines.append(f"split size  {f'{self.split_size:,} bytes' if self.split_size else 'from the size of the input'}")
        lines += [f"part size   about {self.part_size:,} bytes a file"] if self.part_size else []
        lines.append(f"seed        {self.seed}")
        lines.append(f"resume      {self.resume}")
        lines += ["", "code that travels" + (": a pickle of the job" if self.by_value else "")]
        lines += [f"  {name}  {path}" for name, path in self.modules]
        if not self.modules and not self.by_value:
            lines.append("  none: it is part of the engine")
        lines.append(f"packages that workers need: {', '.join(self.packages) or 'none'}")
        lines += [f"note: {note}" for note in self.notes]
        if self.problem:
            lines += ["", f"It cannot run yet: {self.problem}"]
        return "\n".join(lines) + "\n"


def describe_job(loaded: Job | LoadedTarget) -> JobDescription:
    """Describe a job, and what of it would travel. What keeps it from travelling is its `problem`, not an error."""
    job = loaded.job if isinstance(loaded, LoadedTarget) else loaded
    document = (loaded.module.__doc__ or "") if isinstance(loaded, LoadedTarget) else ""
    modules: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()
    by_value, problem = False, ""
    try:
        package = package_of(loaded)
    except PackagingError as error:
        problem = str(error)
    else:
        modules = tuple((module.name, module.path) for module in package.modules)
        packages, by_value = package.requirements, package.target is None
    return JobDescription(
        name=job.name,
        about=document.strip().partition("\n")[0],
        steps=tuple(_describe_step(plan) for plan in job.resolved),
        parameters=tuple(
            ParameterDescription(p.name, p.type_name, None if p.required else repr(p.default), p.owner)
            for p in job.parameters
        ),
        inputs=tuple((source.name, _describe_format(source.format, job)) for source in job.resolved[0].inputs),
        outputs=(("", job.output), *job.outputs.items()),
        reducers=job.reducers,
        split_size=job.split_size,
        part_size=job.part_size,
        seed=job.seed,
        resume=_describe_resume(job),
        modules=modules,
        packages=packages,
        by_value=by_value,
        problem=problem,
        notes=misspelt(loaded.module) if isinstance(loaded, LoadedTarget) else (),
    )


def _describe_resume(job: Job) -> str:
    first = job.resolved[0]
    if len(job.resolved) == 1 and first.map_only:
        return "there are no map results to keep: they are the output"
    reason, unknown = unjudged(first)
    if unknown:
        return f"a failed job's map results are not used again, since nobody can tell what they depend on: {reason}"
    if reason:
        return f"a failed job's map results are used again while no code changes ({reason})"
    return "a failed job's map results are used again while nothing changes that they depend on"


def _describe_step(plan: StepPlan) -> StepDescription:
    functions = [_describe_mapper(source) for source in plan.inputs]
    functions += [
        FunctionDescription(call.role, call.title, _takes(call, frames=plan.frames))
        for call in (plan.combiner, plan.partitioner, plan.sort_values)
        if isinstance(call, Call)
    ]
    if isinstance(plan.partitioner, RangePartitioner):
        how = "boundaries are found for about equal parts" if plan.partitioner.parts is None else "at given boundaries"
        functions.append(FunctionDescription("partitioner", repr(plan.partitioner), "", f"keys in order, {how}"))
    elif isinstance(plan.partitioner, ListPartitioner):
        about = f"keys as listed, {plan.partitioner.parts} parts or more"
        functions.append(FunctionDescription("partitioner", repr(plan.partitioner), "", about))
    if plan.sort_values is True:
        functions.append(FunctionDescription("sort_values", "True", "", "the values of a key come sorted"))
    if isinstance(plan.reducer, Call):
        functions.append(FunctionDescription("reducer", plan.reducer.title, _takes(plan.reducer, frames=plan.frames)))
    elif isinstance(plan.reducer, Join):
        left, right = (source.name for source in plan.inputs)
        about = f"joins {left} and {right} by key"
        if plan.broadcasts:
            about += f", without a shuffle: every task process loads {right}"
        functions.append(FunctionDescription("reducer", repr(plan.reducer), "", about))
    elif plan.reducer is not None:
        about = "aggregates in the map task and in the shuffle"
        functions.append(FunctionDescription("reducer", repr(plan.reducer), "", about))
    return StepDescription(tuple(functions), map_only=plan.map_only)


def _describe_mapper(source: InputPlan) -> FunctionDescription:
    about = f"for the input {source.name}, " if source.name else ""
    about += _KINDS[source.mapper_kind]
    if source.mapper is None:
        return FunctionDescription("mapper", "none", "", about)
    takes = _takes(source.mapper)
    if source.frames:
        takes = f" takes (frame{', ctx' if source.mapper.wants_context else ''})"
        about = about.replace(_KINDS["pairs"], "gives frames with key and value")
    elif source.batch_size is not None:
        takes += f" in lists of {source.batch_size:,}"
    return FunctionDescription(source.mapper.role, title_of(source.mapper.function), takes, about)


def _describe_format(given: Format | None, job: Job) -> str:
    text = f"{job.encoding} ({job.encoding_errors})"
    match given:
        case Files(text=False):
            return "whole files, as bytes"
        case Files():
            return f"whole files, as text, {text}"
        case Csv(header=header, separator=separator, quoted_newlines=quoted, columns=columns):
            about = "the first record names the columns" if header else "no header"
            about += "" if columns is None else f", of which {', '.join(columns)} are read"
            about += "" if quoted else ", cut at lines"
            return f"CSV, {about}, {separator!r}, {text}"
        case JsonLines(nan=nan):
            return f"JSON lines, {'with NaN and Infinity, ' if nan else ''}{text}"
        case Columnar(columns=columns):
            name = "Parquet" if isinstance(given, Parquet) else "Arrow IPC"
            return f"{name}, {'all columns' if columns is None else ', '.join(columns)}"
        case Msgpack():
            return "msgpack objects"
        case FixedLength(length=length, skip=skip):
            return f"records of {length:,} bytes each" + (f", behind {skip:,} bytes of each file" if skip else "")
        case Records():
            return "typed records of a former job"
        case _:
            return f"text lines, {text}"


def _takes(call: Call, *, frames: bool = False) -> str:
    words = {"reducer": "key, values", "combiner": "key, values", "partitioner": "key, partitions"}
    record = words.get(call.role, "value" if call.positional == 1 else "key, value")
    if frames and call.role in {"reducer", "combiner"}:
        record = f"frames: {', '.join(call.groups)}" if call.groups else "frame"
    elif call.groups:
        record = ", ".join(("key", *call.groups))
    return f" takes ({record}{', ctx' if call.wants_context else ''})"
