"""What a user asked for, before anything has been looked at. Imports next to nothing: an agent starts meanwhile."""

from __future__ import annotations

from dataclasses import field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mapreduce.config import USER_ATTEMPTS
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from mapreduce.job import Job
    from mapreduce.plan import Limits, StepIdentity


@dataclass(frozen=True, slots=True)
class ResultFolders:
    """Former results, with their values' exact types, by their folders."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeptInput:
    """The kept result of a job: how many parts it has, and their bytes in all."""

    job: str
    parts: int
    size: int


Source = tuple[str, ...] | ResultFolders | KeptInput


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asked for.

    `job` is a Job, a module, or a target such as "jobs/word_count.py:job". `inputs` are paths or a former result, for a
    job with named inputs by their names (or, from a command line, texts NAME=PATH). `params` are values or, from a
    command line, texts. `split_size` is in bytes, or text such as "16MB". An `output_format` of "records" keeps all
    values' types, for results without a folder, and those of named outputs too. `part_size` is as `split_size`;
    `max_bad` is a number of records, or text such as "1%". What is None is the job's own choice, or the default.
    `files` are the paths of files that travel with the job, by their names; `warm` is as in a JobSpec, `durable` and
    `keep` as in TaskOptions. `passing` names what of the inputs goes with the run, such as "standard input". With
    `resumes`, the ids of a failed job and of those that it had resumed, the map results are used that they have left,
    `former_maps` as far as that is known; `former` are the identities of the first.
    `input_format` is the text of a format (see `format_text`), for a job with named inputs texts by their names or
    texts NAME=FORMAT, and `columns` are texts "A,B" or NAME=A,B.
    """

    job: Job | ModuleType | str
    inputs: Source | dict[str, Source]
    output: str = ""
    output_format: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    reducers: int | None = None
    split_size: int | str | None = None
    overwrite: bool = False
    encoding: str | None = None
    encoding_errors: str | None = None
    priority: int = 0
    user_attempts: int = USER_ATTEMPTS
    slots: int | None = None
    limits: Limits | None = None
    files: dict[str, str] = field(default_factory=dict)
    warm: str = ""
    durable: bool = True
    keep: bool = False
    part_size: int | str | None = None
    max_bad: int | str | None = None
    passing: str = ""
    resumes: tuple[str, ...] = ()
    former: tuple[StepIdentity, ...] = ()
    former_maps: int | None = None
    input_format: str | tuple[str, ...] | dict[str, str] | None = None
    columns: tuple[str, ...] = ()
