"""The command `mapreduce` in a process of its own."""

from __future__ import annotations

import collections
import os
import sys
from pathlib import Path

from commands import run_text

TIMEOUT_S = 60
COMMAND = [sys.executable, "-m", "mapreduce"]
TEXT = "to be or not to be\nthat is the question\n"
COUNTS = dict(collections.Counter(TEXT.split()))
FAILING = """
def mapper(line, *, bad: str = "question"):
    print("looking at", line)
    if bad in line:
        raise ValueError("no questions, please")
    for word in line.split():
        yield word, 1


def reducer(word, counts):
    yield word, sum(counts)
"""
SLOW = """
import time


def mapper(line):
    print("mapping", flush=True)
    time.sleep(120)
    yield line, 1
"""


def mapreduce(*arguments, stdin=""):
    return run_text(*arguments, stdin=stdin, env=dict(os.environ), timeout=TIMEOUT_S)


def parse(tsv):
    return {key: int(value) for key, value in (line.split("\t") for line in tsv.splitlines())}


def leftovers(folder):
    return sorted(path.name for path in (folder / "tmp").iterdir())


def processes_of(folder):
    """Processes whose command line or environment speaks of the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in text:
                found.append(int(entry.name))
    return found
