"""What a job is, as plain data and as text: steps, functions, parameters, options, and the code that will travel."""

from __future__ import annotations

from dataclasses import dataclass

from mapreduce.calls import Call, title_of
from mapreduce.errors import PackagingError
from mapreduce.job import Job, StepPlan
from mapreduce.package import package_of
from mapreduce.plan import TaskOptions
from mapreduce.targets import LoadedTarget

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
    """A job in plain data. `modules` are (name, path) of the sources that travel; `packages` must be on each worker.

    `by_value` says that the job itself travels as a pickle; `problem` why it cannot travel, or "".
    """

    name: str
    about: str
    steps: tuple[StepDescription, ...]
    parameters: tuple[ParameterDescription, ...]
    input_format: str
    output_formats: tuple[str, ...]
    reducers: int | None
    split_size: int | None
    seed: int
    modules: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]
    by_value: bool
    problem: str

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
        lines += ["", f"input       {self.input_format}", f"output      {', '.join(self.output_formats)}"]
        lines.append(f"reducers    {self.reducers or 'from the size of the input'}")
        lines.append(f"split size  {f'{self.split_size:,} bytes' if self.split_size else 'from the size of the input'}")
        lines.append(f"seed        {self.seed}")
        lines += ["", "code that travels" + (": a pickle of the job" if self.by_value else "")]
        lines += [f"  {name}  {path}" for name, path in self.modules]
        if not self.modules and not self.by_value:
            lines.append("  none: it is part of the engine")
        lines.append(f"packages that workers need: {', '.join(self.packages) or 'none'}")
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
        package = package_of(loaded, {}, TaskOptions(job="", output=""))
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
        input_format=f"text lines, {job.encoding} ({job.encoding_errors})",
        output_formats=("tsv",),
        reducers=job.reducers,
        split_size=job.split_size,
        seed=job.seed,
        modules=modules,
        packages=packages,
        by_value=by_value,
        problem=problem,
    )


def _describe_step(plan: StepPlan) -> StepDescription:
    functions = [_describe_mapper(plan)]
    functions += [
        FunctionDescription(call.role, call.title, _takes(call))
        for call in (plan.combiner, plan.partitioner, plan.sort_values)
        if isinstance(call, Call)
    ]
    if isinstance(plan.reducer, Call):
        functions.append(FunctionDescription("reducer", plan.reducer.title, _takes(plan.reducer)))
    elif plan.reducer is not None:
        about = "aggregates in the map task and in the shuffle"
        functions.append(FunctionDescription("reducer", repr(plan.reducer), "", about))
    return StepDescription(tuple(functions), map_only=plan.reducer is None)


def _describe_mapper(plan: StepPlan) -> FunctionDescription:
    about = _KINDS[plan.mapper_kind]
    if plan.mapper is None:
        return FunctionDescription("mapper", "none", "", about)
    return FunctionDescription(plan.mapper.role, title_of(plan.mapper.function), _takes(plan.mapper), about)


def _takes(call: Call) -> str:
    words = {"reducer": "key, values", "combiner": "key, values", "partitioner": "key, partitions"}
    record = words.get(call.role, "value" if call.positional == 1 else "key, value")
    return f" takes ({record}{', ctx' if call.wants_context else ''})"
