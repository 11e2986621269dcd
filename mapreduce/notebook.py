"""What is different where a person sits at a prompt or in a notebook: whose output may be replaced.

Owns the rule that a cell or line can be run again over its own former output. Never imports IPython: it uses what a
kernel has loaded.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from mapreduce.dataflow.manifest.file import JOB_FILE
from mapreduce.urls import is_url, join

JOB_FILE_BYTES = 16 << 20  # a commit's own is below: it names each task once; what is larger was not written by us
TOKEN_BYTES = 8  # enough that no two processes ever have the same


def shell() -> Any:
    """The IPython shell of this process if it is a notebook's kernel, else None."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return None
    found = sys.modules["IPython"].get_ipython()
    return found if getattr(found, "kernel", None) is not None else None


def is_interactive() -> bool:
    """Whether a person types what runs here: at Python's or IPython's prompt, or in a notebook."""
    return hasattr(sys, "ps1") or shell() is not None


def notebook_path() -> str:
    """The notebook that this kernel belongs to, as Jupyter or VS Code say it; "" where none is known."""
    kernel = shell()
    if kernel is None:  # a program that a notebook starts inherits its environment, and is not the notebook
        return ""
    return str(kernel.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", ""))


# --------------------------------------------------------------------------------------------------- running again


def origin_of(output: str, name: str) -> dict[str, str]:
    """What a commit shall note about the interactive process that asked for it; nothing for any other process.

    `output` is the absolute path of the output folder, `name` the job's name.
    """
    if not is_interactive():
        return {}
    return {"client": _client(os.getpid()), "name": name, "notebook": notebook_path(), "output": output}


@functools.cache
def _client(_process: int) -> str:
    return secrets.token_hex(TOKEN_BYTES)


def replaced_job(output: str, name: str) -> tuple[str, str] | None:
    """The job (its id and name) whose output a job called `name` may replace at `output` without being told to.

    It is one that this interactive process has committed there, or, after a restart of the kernel, one of the same name
    from the same notebook. None where there is no output, or somebody else's. `output` is an absolute path.
    """
    if not is_interactive():
        return None
    try:
        facts = json.loads(_job_file(output))
        job, origin = facts["job"], facts["origin"]
        here = origin["output"] == output  # a copy of an output, or one that was moved, is somebody's treasure
        ours = origin["client"] == _client(os.getpid())
        notebook = notebook_path()
        again = notebook != "" and (origin["notebook"], origin["name"]) == (notebook, name)
        former = (str(job), str(origin["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no former output, or nothing of ours: reserving the folder says what is wrong with it
    return former if here and (ours or again) else None


def _job_file(output: str) -> bytes:
    """The beginning of the `_job.json` of an output. Raises OSError where there is none."""
    if not is_url(output):
        with (Path(output) / JOB_FILE).open("rb") as file:
            return file.read(JOB_FILE_BYTES)
    from mapreduce.dataflow.stores.drivers import store_of  # noqa: PLC0415 - only for outputs in stores

    return store_of(output).read_small(join(output, JOB_FILE)) or b""
