"""What the tests with real processes share: a gate that holds tasks, and texts that pass it."""

import contextlib
from pathlib import Path

import gated
import pytest
from cluster import wait_for

MAPS = 6


class Gate:
    """A folder through which a test holds tasks and learns which processes stand there."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def hold(self, name):
        """Stop all tasks that come to the gate `name` from now on."""
        (self.folder / f"hold-{name}").touch()

    def release(self, name):
        """Let them go on."""
        (self.folder / f"hold-{name}").unlink()

    def marks(self, name):
        """The ids of the processes that came to the gate so far."""
        return {int(path.suffix[1:]) for path in self.folder.glob(f"{name}.*")}

    def arrived(self, name, others=frozenset()):
        """Wait for a process at the gate that is not among `others`; gives its id."""
        return min(wait_for(lambda: self.marks(name) - set(others), f"a task at the gate {name}"))


@pytest.fixture
def gate(tmp_path):
    """An open gate."""
    folder = tmp_path / "gate"
    folder.mkdir()
    yield Gate(folder)
    for held in folder.glob("hold-*"):
        with contextlib.suppress(FileNotFoundError):
            held.unlink()


@pytest.fixture
def gated_job():
    """The path of the job that passes gates."""
    return gated.__file__


@pytest.fixture
def gated_texts(tmp_path):
    """Six files of one split each; file N begins with the line "gate mapN"."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(MAPS):
        lines = [f"gate map{number}", *(f"word{i * number % 97} common text{i % 13}" for i in range(400))]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder
