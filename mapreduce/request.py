"""What a user asked for, before anything has been looked at. Imports next to nothing: an agent starts meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mapreduce.config import USER_ATTEMPTS

if TYPE_CHECKING:
    from mapreduce.job import Job
    from mapreduce.plan import Limits


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asked for.

    `job` is a Job, a module, or a target such as "jobs/word_count.py:job". `params` are values or, from a command line,
    texts. `split_size` is in bytes, or text such as "16MB". What is None is the job's own choice, or the default.
    """

    job: Job | ModuleType | str
    inputs: tuple[str, ...]
    output: str = ""
    output_format: str = "tsv"
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
