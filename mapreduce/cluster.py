"""`Cluster`: workers that stay between runs, for programs and notebooks that run many jobs, or one many times."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from mapreduce.api import InputFormat, Inputs, refuse_without_folder, request_of, result_in_memory, to_the_point
from mapreduce.errors import UsageError
from mapreduce.former_results import read_paths
from mapreduce.kept import Kept
from mapreduce.notebook_display import listening
from mapreduce.result import Result
from mapreduce.runners.warm import WarmRunner
from mapreduce.travel.side_files import Files
from mapreduce.urls import place

if TYPE_CHECKING:
    from mapreduce.job import Job


class Cluster:
    """Workers that stay between runs, with the code and all that it has loaded.

    The first `run` starts them; `close()`, the end of a `with` block or of the program, or the loss of the object,
    stops them. A job that runs again with the same code, whatever its parameters, inputs and options, finds task
    processes that have its modules imported, and what its `functools.cache`d functions have loaded.

    One job at a time, from one thread at a time. After a failed or interrupted job it can be used on.
    """

    def __init__(self, slots: int | None = None, *, coordinator: str | None = None) -> None:
        """Name the workers: `slots` processes on this machine (default: the usable processors), or a cluster's.

        `coordinator` is the address of a cluster that runs anyway; its workers keep processes for this object's jobs
        as long as nobody else needs the room. Nothing is started yet. Raises UsageError.
        """
        self._runner = WarmRunner(slots, coordinator)
        # At the interpreter's exit too; where the process is killed, the workers see their life pipe close.
        self._finalizer = weakref.finalize(self, self._runner.abandon)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Cluster: {self._runner!r}>"

    def close(self) -> None:
        """Stop the workers; may be called twice. Raises UsageError while another thread runs a job."""
        self._runner.close()

    @overload
    def run(
        self,
        job: Job | ModuleType | str,
        inputs: Inputs,
        *,
        keep: Literal[True],
        params: Mapping[str, Any] | None = None,
        reducers: int | None = None,
        split_size: int | str | None = None,
        input_format: InputFormat = None,
        encoding: str | None = None,
        encoding_errors: str | None = None,
        files: Files | None = None,
        progress: bool | None = None,
    ) -> Kept: ...

    @overload
    def run(
        self,
        job: Job | ModuleType | str,
        inputs: Inputs,
        output: str | os.PathLike[str] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        reducers: int | None = None,
        split_size: int | str | None = None,
        input_format: InputFormat = None,
        overwrite: bool = False,
        output_format: str | None = None,
        part_size: int | str | None = None,
        max_bad: int | str | None = None,
        encoding: str | None = None,
        encoding_errors: str | None = None,
        files: Files | None = None,
        progress: bool | None = None,
        keep: Literal[False] = False,
    ) -> Result: ...

    @to_the_point
    def run(
        self,
        job: Job | ModuleType | str,
        inputs: Inputs,
        output: str | os.PathLike[str] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        reducers: int | None = None,
        split_size: int | str | None = None,
        input_format: InputFormat = None,
        overwrite: bool = False,
        output_format: str | None = None,
        part_size: int | str | None = None,
        max_bad: int | str | None = None,
        encoding: str | None = None,
        encoding_errors: str | None = None,
        files: Files | None = None,
        progress: bool | None = None,
        keep: bool = False,
    ) -> Result | Kept:
        """Run a job and wait for its result, as `mapreduce.run` does, with the same arguments.

        With `keep` the results stay on the workers' disks, and a Kept is given, which may be an input of other jobs of
        this Cluster.
        """
        if keep and (output is not None or overwrite or output_format is not None or part_size is not None):
            raise UsageError(
                "with keep=True the results stay with the workers: leave out output=, overwrite=, output_format= and "
                "part_size="
            )
        if output is None and self._runner.coordinator is not None and not keep:
            raise UsageError(
                "a job on a cluster needs an output folder that all workers see: give output= (or keep=True, to leave "
                "the results with the workers)"
            )
        if output is None:
            refuse_without_folder(output_format=output_format, part_size=part_size)
        request = request_of(
            job,
            read_paths(inputs, self._runner),
            output,
            params=params,
            reducers=reducers,
            split_size=split_size,
            input_format=input_format,
            output_format=output_format,
            part_size=part_size,
            max_bad=max_bad,
            overwrite=overwrite,
            encoding=encoding,
            encoding_errors=encoding_errors,
            files=files,
            keep=keep,
        )
        with listening(progress) as listener:
            if keep:
                return Kept(self._runner.run(request, listener), self._runner)
            if output is None:
                return result_in_memory(request, lambda wanted: self._runner.run(wanted, listener))
            return Result(self._runner.run(request, listener), place(request.output))
