"""A trial in another process, from the code as it travels, as on a worker: with a hash seed of its own, afresh.

`start` is for the process that checks; run as a program, this module is the other one. Both know the files of a folder:
what is tried goes in, the outcome comes out.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from mapreduce.check.suspects import line_of
from mapreduce.check.trial import Outcome, TrialPlan, run_trial
from mapreduce.errors import PackagingError
from mapreduce.project import is_engine_file, is_library_file
from mapreduce.protocol.plain import pack, unpack
from mapreduce.quick_dataclass import dataclass
from mapreduce.travel.loader import load
from mapreduce.travel.side_files import travelled_files

CODE, SETUP, PLAN, BEGUN, TOLD = "code", "setup", "plan", "begun", "told"
STDERR_CHARS = 2000  # of what a process wrote before it died
FATAL = "Fatal Python error"  # begins what faulthandler writes
LOADING_S = 120.0  # that loading the code may take, which is no part of a trial: of a large library, on a busy machine
POLL_S = 0.05  # how often it is looked whether that is done
LAST_WORDS_S = 5.0  # that a process has to write where it is, on a busy machine, before it is killed
_FRAME = re.compile(r'  File "(.*)", line (\d+) in ')
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss, which Linux gives in KiB


@dataclass(frozen=True, slots=True)
class Told:
    """What the other process tells: the outcome, the most memory it had in bytes, or why the code cannot be loaded."""

    outcome: Outcome
    peak: int
    refused: str = ""


class TookTooLong(Exception):
    """A trial in another process was stopped, since it took so long: which of the user's lines it was at, if any."""

    def __init__(self, message: str, code: tuple[str, ...]) -> None:
        super().__init__(message)
        self.code = code


class Died(Exception):
    """A process died while it ran a trial: how, and what it wrote last."""

    def __init__(self, how: str, stderr: str) -> None:
        super().__init__(how)
        self.how = how
        self.stderr = stderr


class OtherProcess:
    """A trial under way in another process. `close` it in any case."""

    def __init__(self, folder: Path, blobs: tuple[bytes, bytes], files: Path, plan: TrialPlan, seed: int) -> None:
        """Start it in the empty `folder`; `blobs` are a job's code and setup, `files` the folder of its files."""
        from mapreduce.runners.agent_process import clean_environment, python_command  # noqa: PLC0415 - imports the sockets

        self._folder = folder
        self._life: int | None
        folder.mkdir()
        for name, data in ((CODE, blobs[0]), (SETUP, blobs[1]), (PLAN, pack(plan))):
            (folder / name).write_bytes(data)
        environment = {**clean_environment(), "PYTHONHASHSEED": str(seed), "POLARS_MAX_THREADS": "1"}
        life, self._life = os.pipe()  # our end closes with this process, however that ends, and the other one ends then
        try:
            with (folder / "stderr").open("wb") as stderr:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [*python_command("mapreduce.check.other"), str(folder), str(files), str(life)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env=environment,
                    pass_fds=(life,),
                )
        finally:
            os.close(life)

    def wait(self, timeout_s: float) -> Told:
        """What it tells, if the trial takes no longer than this. Raises TookTooLong, and Died with what is known."""
        self._wait_until_begun()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            message = f"the sample was not done after {timeout_s:.0f} s"
            raise TookTooLong(message, self._stopped_at()) from None
        try:
            return unpack(Told, (self._folder / TOLD).read_bytes())
        except FileNotFoundError:
            how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with the exit code {code}"
            raise Died(how, last_words(self._stderr())) from None

    def _wait_until_begun(self) -> None:
        """Wait until the code is loaded, the process has ended, or LOADING_S have passed."""
        deadline_s = time.monotonic() + LOADING_S
        while not (self._folder / BEGUN).exists() and time.monotonic() < deadline_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_S)
                return

    def _stopped_at(self) -> tuple[str, ...]:
        """Stop it, and give the user's line that it was at."""
        self._process.send_signal(signal.SIGABRT)  # on which it writes where it is, and ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self.close()
        frames = users_frames(self._stderr())
        return tuple(line_of(path, line) for _, path, line in frames[:1])

    def _stderr(self) -> str:
        return (self._folder / "stderr").read_text("utf-8", "replace")

    def close(self) -> None:
        """Stop it if it runs; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._life is not None:
            os.close(self._life)
            self._life = None


def last_words(stderr: str) -> str:
    """What a process wrote before it died: of a dump of its stack what happened, and the user's lines in it."""
    _, found, dump = stderr.rpartition(FATAL)
    if not found:
        return stderr[-STDERR_CHARS:].strip()
    first = (found + dump).partition("\n")[0]
    return "\n".join([first, *(text for text, _, _ in users_frames(stderr))])[:STDERR_CHARS]


def users_frames(stderr: str) -> list[tuple[str, str, int]]:
    """The user's lines of the stack that a process wrote last, the innermost first: as text, with file and number."""
    dump = stderr.rpartition(FATAL)[2]
    found = [(match.string, match[1], int(match[2])) for match in map(_FRAME.match, dump.splitlines()) if match]
    return [frame for frame in found if not is_engine_file(frame[1]) and not is_library_file(frame[1])]


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _watch_life(descriptor: int) -> None:
    """End this process, whatever it does, when the one that started it is gone."""
    while os.read(descriptor, 1):
        pass
    os._exit(1)


def main(folder: Path, files: Path, life: int) -> None:
    """Run the trial that lies in `folder`, and write there what it gave; end when the inherited pipe `life` closes."""
    faulthandler.enable()  # a crash then shows the user's line
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    threading.Thread(target=_watch_life, args=(life,), daemon=True).start()
    plan = unpack(TrialPlan, (folder / PLAN).read_bytes())
    found: Mapping[str, Path] = travelled_files(files) if files.is_dir() else {}
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        loaded = load((folder / CODE).read_bytes(), (folder / SETUP).read_bytes(), found)
    except PackagingError as error:
        told = Told(Outcome(), 0, str(error))
    else:
        (folder / BEGUN).touch()
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            outcome, _ = run_trial(loaded, plan, scratch)
        told = Told(outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT)
    unfinished = folder / f"{TOLD}.tmp"
    unfinished.write_bytes(pack(told))
    unfinished.rename(folder / TOLD)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
