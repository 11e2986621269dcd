"""The agent of an embedded cluster as a process: started before anything is known of the job, and told later.

A command that is going to run a job starts it first of all (`start_ahead`): an agent takes longest to get ready, and
what the command imports and plans meanwhile costs no time then. Light, therefore.
"""

from __future__ import annotations

import os
import subprocess
import sys

from mapreduce.errors import UsageError
from mapreduce.process_end import has_ended
from mapreduce.process_memory import with_memory

SAFE_ENV_DROPS = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONSAFEPATH")  # must not change what our processes import
AGENT_ENV = {"PYTHONHASHSEED": "0"}  # as its task processes need it, which are forks of forks of it
UNUSED_EXIT_S = 1.0  # an agent that got no work looks at its pipe once its imports are done

_ahead: list[AgentProcess] = []  # the one that was started ahead, until it is taken


class AgentProcess:
    """An agent, and the two ends of its life pipe: by what comes there it learns what it is for.

    We keep both: so writing for an agent that has died is no error, and sends us no signal. `log` is an open file
    without a name, of what it says.
    """

    def __init__(self, process: subprocess.Popen[bytes], life: tuple[int, int], log: int) -> None:
        self.process, self.life, self.log = process, life, log

    def close(self) -> None:
        """Close the pipe, so that the agent ends, and its log; the process is to be waited for yet."""
        for end in (*self.life, self.log):
            os.close(end)


def python_command(module: str) -> list[str]:
    """The start of a command that runs one of our modules with a safe path. Raises UsageError without a Python."""
    if not sys.executable:
        raise UsageError(
            "cannot start processes: sys.executable is not set in this embedded Python; use runner='inline'"
        )
    return [sys.executable, "-P", "-m", module]


def clean_environment() -> dict[str, str]:
    """The environment for our processes: what would change their imports is left out."""
    return {name: value for name, value in os.environ.items() if name not in SAFE_ENV_DROPS}


def start_agent() -> AgentProcess:
    """Start an agent that waits to be told its options. Raises UsageError where that cannot be."""
    command = python_command("workers.agent")
    fds: list[int] = []
    try:
        fds += os.pipe()
        fds.append(_nameless_file())
        # Its own session: Ctrl-C goes to us alone, and we stop it.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, "--told-by", str(fds[0])],
            stdin=subprocess.DEVNULL,
            stdout=fds[2],
            stderr=fds[2],
            env=with_memory(clean_environment() | AGENT_ENV),
            pass_fds=(fds[0],),
            start_new_session=True,
        )
    except OSError as error:
        for fd in fds:
            os.close(fd)
        msg = f"cannot start a worker process: {error}"
        raise UsageError(msg) from error
    return AgentProcess(process, (fds[0], fds[1]), fds[2])


def start_ahead(arguments: list[str]) -> None:
    """Start an agent for the command line `arguments` if these are going to need one."""
    # A program that closed its standard streams would find our descriptors in their places.
    if sys.executable and None not in (sys.stdin, sys.stdout, sys.stderr) and _will_run(arguments):
        _ahead.append(start_agent())


def _will_run(arguments: list[str]) -> bool:
    """Whether a command line looks like a run on this machine's task processes."""
    if len(arguments) < 3 or arguments[0] != "run":
        return False
    return not any(text in {"-h", "--help", "--pdb"} or "inline" in text for text in arguments)


def take_started() -> AgentProcess:
    """The agent that was started ahead, or else a new one. Raises UsageError."""
    return _ahead.pop() if _ahead else start_agent()


def end_unused() -> None:
    """End the agent that was started ahead and not taken."""
    while _ahead:
        agent = _ahead.pop()
        agent.close()
        if not has_ended(agent.process, UNUSED_EXIT_S):
            agent.process.kill()
        agent.process.wait()


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mapreduce-agent-log", os.MFD_CLOEXEC)
    import tempfile  # noqa: PLC0415 - macOS; not so light

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
