"""What the fork server puts off until it is used."""

import subprocess
import sys

BEGIN = """
import sys, threading
from workers import fork_main
for name in (*fork_main.SELDOM_USED, fork_main.TRANSPORT):
    fork_main._put_off(name)
import workers.fork_server
"""


def run(code):
    """What Python prints in a process of its own, in which the fork server has been imported."""
    command = [sys.executable, "-P", "-c", BEGIN + code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_what_is_seldom_used_is_not_imported():
    """The modules are named, and nothing of them is loaded with the fork server."""
    assert run("print('email' in sys.modules, 'zmq.backend' in sys.modules, 'zmq' in sys.modules)") == [
        "False",
        "False",
        "True",
    ]


def test_it_is_imported_when_it_is_used():
    """By any way to a module, in several threads at once, it is what it always is; what it lacks it lacks."""
    code = """
import importlib.metadata, zmq
found = []
threads = [threading.Thread(target=lambda: found.append(zmq.zmq_version())) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from importlib.metadata import version
import zmq.asyncio
print(len(set(found)), len(found), version('polars') == importlib.metadata.version('polars'))
same = importlib.metadata is sys.modules['importlib.metadata']
print(hasattr(zmq, 'nothing'), type(zmq).__name__, type(importlib.metadata).__name__, same)
"""
    assert run(code) == ["1", "8", "True", "False", "module", "module", "True"]
