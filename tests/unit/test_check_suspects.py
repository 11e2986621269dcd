"""The lines of the user's code that `mapreduce check` points at."""

from __future__ import annotations

import functools
import importlib.util
import sys
import textwrap

import pytest

from mapreduce.check import suspects

SOURCE = """
import collections
import datetime
import functools
import itertools
import os
import random
import time
from dataclasses import dataclass
from datetime import datetime as when
from pathlib import Path
from random import choice
from time import time as now

import numpy as np
import numpy.random

seen = set()
counts = collections.Counter()
numbers = itertools.count()
generator = random.Random(3)
STOP_WORDS = Path("stop.txt")
HOSTS = Path("/etc/hosts")
LIMIT = 7
NAMES = ("a", "b")


def draws(line):
    yield line, random.random()
    yield line, choice(NAMES)
    yield line, np.random.rand()


def looks_at_clock(line):
    yield line, time.time()
    yield line, now()
    yield line, when.now()
    yield line, datetime.date.today()


def unordered(line):
    for word in set(line.split()):
        yield word, {letter for letter in word}
    yield line, hash(line)


def remembers(line):
    global LIMIT
    seen.add(line)
    counts[line] += 1
    yield next(numbers), line


def guesses(line):
    yield generator.choice(NAMES), line


def process(line):
    yield line, os.getpid()
    yield line, os.environ["HOME"]


def reads(line):
    yield line, open("stop.txt").read()
    yield line, STOP_WORDS.read_text()
    yield line, Path("data", "x").open()


@dataclass
class Edge:
    node: str

    def now(self):
        return self.node


edge = Edge("a")


def reads_well(line, *, ctx):
    yield line, open("/etc/hosts").read() + HOSTS.read_text()
    yield line, ctx.files["stop.txt"].read_text()
    yield line, edge.node + edge.now()


def clean(line, *, ctx):
    for word in sorted(line.split()):
        yield word, ctx.random.random() * LIMIT


def helper(line):
    return random.randint(1, 6)


def through_helper(line):
    yield line, helper(line)


class Mapper:
    def __call__(self, line):
        yield line, helper(line)


@functools.cache
def table():
    return 1
"""
FINDERS = ("randomness", "clocks", "unordered", "lasting", "of_process")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The source as a module of the user's."""
    path = tmp_path_factory.mktemp("user") / "suspicious.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("suspicious", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["suspicious"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["suspicious"]


@pytest.mark.parametrize(
    ("function", "finder", "lines"),
    [
        (
            "draws",
            "randomness",
            ["yield line, random.random()", "yield line, choice(NAMES)", "yield line, np.random.rand()"],
        ),
        (
            "looks_at_clock",
            "clocks",
            [
                "yield line, time.time()",
                "yield line, now()",
                "yield line, when.now()",
                "yield line, datetime.date.today()",
            ],
        ),
        (
            "unordered",
            "unordered",
            ["for word in set(line.split()):", "yield word, {letter for letter in word}", "yield line, hash(line)"],
        ),
        ("remembers", "lasting", ["global LIMIT", "seen.add(line)", "counts[line] += 1", "yield next(numbers), line"]),
        ("guesses", "lasting", ["yield generator.choice(NAMES), line"]),
        ("process", "of_process", ["yield line, os.getpid()", 'yield line, os.environ["HOME"]']),
        (
            "reads",
            "of_process",
            [
                'yield line, open("stop.txt").read()',
                "yield line, STOP_WORDS.read_text()",
                'yield line, Path("data", "x").open()',
            ],
        ),
        ("through_helper", "randomness", ["return random.randint(1, 6)"]),
        ("Mapper", "randomness", ["return random.randint(1, 6)"]),
    ],
)
def test_the_lines_of_a_cause_are_found(job, function, finder, lines):
    """In the function itself, and in those of the project that it leads to, each with file and number."""
    found = getattr(suspects, finder)([getattr(job, function)])
    numbered = SOURCE.split("\n")
    wanted = [
        f"suspicious.py:{number}: {text.strip()}" for number, text in enumerate(numbered, 1) if text.strip() in lines
    ]
    assert list(found) == wanted
    assert len(found) == len(lines)


@pytest.mark.parametrize("finder", FINDERS)
def test_clean_functions_are_not_suspected(job, finder):
    """ctx.random, sorted words and constants are as they should be; and so is what Python itself brings."""
    find = getattr(suspects, finder)
    assert find([job.clean]) == ()
    assert find([job.reads_well]) == ()
    assert find([str.split, len, functools.partial(str.split, sep=",")]) == ()


def test_partials_and_wrapped_functions_are_looked_through(job):
    """What is wrapped or bound is the function that counts."""

    @functools.wraps(job.draws)
    def wrapped(line):
        return job.draws(line)

    assert len(suspects.randomness([functools.partial(job.draws)])) == 3
    assert len(suspects.randomness([wrapped])) == 3


def test_a_function_is_placed_at_its_def(job):
    """Not at its decorator; a class at its __call__; nothing for what is not the user's."""
    assert suspects.place_of(job.table)[0].endswith(": def table():")
    assert suspects.place_of(job.Mapper)[0].endswith(": def __call__(self, line):")
    assert suspects.place_of(str.split) == ()
    assert suspects.place_of(textwrap.dedent) == ()
