"""docker-compose.yml without Docker: its services' commands as processes on loopback, its health checks, its client."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from cluster import DEADLINE_S, environment, wait_for

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
STOP_S = 10  # what `docker compose stop` waits before it kills
TEXT = "to be or not to be\nthat is the question\n"


def expanded(node, env):
    """What compose makes of a file: ${NAME:-default} from the environment, $$ as a dollar sign."""
    if isinstance(node, dict):
        return {key: expanded(value, env) for key, value in node.items()}
    if isinstance(node, list):
        return [expanded(value, env) for value in node]
    if not isinstance(node, str):
        return node
    found = re.sub(r"\$\$|\$\{(\w+):-([^}]*)\}", lambda m: "\0" if m[0] == "$$" else env.get(m[1], m[2]), node)
    assert "$" not in found, f"{node}: write ${{NAME:-default}} or $$"
    return found.replace("\0", "$")


def services(env):
    """The file's services, as compose would start them."""
    return expanded(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")), env)["services"]


def instructions(word):
    """The arguments of a Dockerfile's instructions of one kind."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in text.split("\n") if line.startswith(f"{word} ")]


class Stack:
    """The services on loopback: volumes are folders, addresses and folders come from the environment as in compose."""

    def __init__(self, folder, stack):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self._stack = stack
        self._overrides = {"MAPREDUCE_LISTEN": address, "MAPREDUCE_COORDINATOR": address}
        self._overrides |= {"MAPREDUCE_STATE": str(folder / "state")}
        self._count = 0

    def prepared(self, service, scratch="scratch"):
        """A service's definition and the environment of its container."""
        found = services(self._overrides | {"MAPREDUCE_SCRATCH": str(self.folder / scratch)})[service]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return found, environment(PATH=path, **found["environment"])

    def start(self, service):
        """Start a service's command below the image's entry point."""
        self._count += 1
        definition, env = self.prepared(service, scratch=f"scratch-{self._count}")
        log = (self.folder / f"{service}-{self._count}.log").open("wb")
        self._stack.enter_context(log)
        process = subprocess.Popen(
            [*entry_point(), *definition["command"]], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self._stack.callback(stop, process)
        return process

    def healthy(self, service):
        """Whether a service's health check passes now."""
        definition, env = self.prepared(service)
        kind, *command = definition["healthcheck"]["test"]
        assert kind in {"CMD", "CMD-SHELL"}
        if kind == "CMD-SHELL":
            command = ["sh", "-c", *command]
        return subprocess.run(command, env=env, capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0

    def client(self, arguments):
        """`docker compose run --rm client ARGUMENTS`, with paths on the volume where that is here."""
        _, env = self.prepared("client")
        here = [argument.replace("/data/", f"{self.data}/") for argument in arguments]
        return subprocess.run(
            [*entry_point(), *here], env=env, capture_output=True, encoding="utf-8", timeout=DEADLINE_S, check=False
        )


def entry_point():
    (found,) = instructions("ENTRYPOINT")
    return yaml.safe_load(found)


def stop(process):
    """What `docker compose stop` does; gives the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
        raise


@pytest.fixture
def stack(tmp_path):
    """Nothing started yet; what is started ends with the test."""
    with contextlib.ExitStack() as cleanup:
        yield Stack(tmp_path, cleanup)


def documented_client_command():
    """The arguments of the client in the file's own instructions."""
    (line,) = re.findall(r"docker compose run --rm client (submit .*)", COMPOSE.read_text(encoding="utf-8"))
    return shlex.split(line)


def catches_sigterm(process):
    """Whether a process has a handler of its own: as process 1 of a container it would ignore the signal otherwise."""
    (mask,) = re.findall(r"SigCgt:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def test_the_services_count_words(stack):
    """Coordinator, two workers and the client, by the file's commands: healthy in turn, and the words are counted."""
    (stack.data / "books").mkdir()
    (stack.data / "books" / "hamlet.txt").write_text(TEXT, encoding="utf-8")
    assert not stack.healthy("coordinator")
    coordinator = stack.start("coordinator")
    wait_for(lambda: stack.healthy("coordinator"), "the coordinator is healthy")
    assert not stack.healthy("worker")
    workers = [stack.start("worker"), stack.start("worker")]
    wait_for(lambda: stack.healthy("worker"), "a worker is healthy")
    wait_for(lambda: len(yaml.safe_load(stack.client(["workers", "--json"]).stdout)) == 2, "both workers are there")
    command = documented_client_command()
    assert command == ["submit", "@word_count", "/data/books", "-o", "/data/out"]
    done = stack.client(command)
    assert done.returncode == 0, done.stderr
    lines = "".join(part.read_text(encoding="utf-8") for part in sorted((stack.data / "out").glob("part-*")))
    assert dict(line.split("\t") for line in lines.splitlines()) == {
        w: str(n) for w, n in Counter(TEXT.split()).items()
    }
    assert stack.client(services({})["client"]["command"]).returncode == 0
    for process in (*workers, coordinator):
        assert catches_sigterm(process)
        assert stop(process) in {0, 128 + signal.SIGTERM}


def test_the_file_says_what_it_is_for():
    """It warns that there are no keys, publishes no port, has defaults that name its services, and can be scaled."""
    text = COMPOSE.read_text(encoding="utf-8")
    assert "for trying out" in text.partition("services:")[0]
    parsed = yaml.safe_load(text)
    found = services({})
    assert set(found) == {"coordinator", "worker", "client"}
    for service in found.values():
        assert "ports" not in service
        assert "container_name" not in service
        assert service["init"], "whatever a task process leaves behind must be reaped"
        assert "/data" in [volume.rpartition(":")[2] for volume in service["volumes"]]
        assert service["environment"]["MAPREDUCE_COORDINATOR"] == "tcp://coordinator:5555"
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(parsed["volumes"])
        assert set(service["networks"]) <= set(parsed["networks"])
    assert "tcp://0.0.0.0:5555" in found["coordinator"]["command"]
    for name in ("worker", "client"):
        assert found[name]["depends_on"] == {"coordinator": {"condition": "service_healthy"}}
    assert found["client"]["profiles"], "`up` must not start the client"


def test_the_image_is_made_of_files_that_are_there():
    """What the Dockerfile copies exists and is all that a build needs; its folders are the commands' and the user's."""
    copied = [source for line in instructions("COPY") for source in line.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    assert set(copied) == {"pyproject.toml", "README.md", "LICENSE", "mapreduce", "workers", "jobs"}
    assert instructions("USER")[-1] != "root"
    assert entry_point() == ["mapreduce"]
    made = " ".join(instructions("RUN"))
    for folder in ("/state", "/data", "/scratch"):
        assert re.search(rf"mkdir -p [^&]*{folder}\b", made)
        assert re.search(rf"chown mapreduce [^&]*{folder}\b", made)
