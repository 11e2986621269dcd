"""Modules made from source, and the identities of jobs in them."""

import json
import sys
import types

from mapreduce.calls import convert_parameters
from mapreduce.identity.steps import identities_of
from mapreduce.plan import StepShape, TaskOptions
from mapreduce.targets import job_from_module
from mapreduce.travel.imports import ModuleSource
from mapreduce.travel.package import Package

BASE = '''
"""A job."""
import contextlib
import decimal
import enum
import functools
import json
import operator
import re
from dataclasses import dataclass
from mapreduce import Job

LIMIT = 3
WORDS = {"a", "b", "c"}
TABLE = {"x": [1, 2], "y": (3, {4})}
PATTERN = re.compile("[a-z]+")
UNUSED = 1
REDUCER_LIMIT = 9

class Base:
    SIZE = 4
    def inherited(self, text):
        return text.lower()

class Cleaner(Base):
    __slots__ = ("mark",)
    def __init__(self, mark="!"):
        self.mark = mark
    def clean(self, text):
        return self.inherited(text) + self.mark
    @property
    def size(self):
        return self.SIZE
    @staticmethod
    def strip(text):
        return text.strip()
    @classmethod
    def made(cls):
        return cls("?")

class Colour(enum.Enum):
    RED = 1

@dataclass
class Point:
    x: int = 0

CLEANER = Cleaner.made()

class Kinds(enum.Enum):
    LIST = [1]

@contextlib.contextmanager
def opened(text):
    yield text * 1

GREEDY = operator.methodcaller("strip", "x")

def traced(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

def adder(number):
    def add(value):
        return value + number
    return add

ADD = adder(2)
PART = functools.partial(max, 5)

@functools.cache
def cached(text):
    return len(text)

@traced
def helper(text, factor=2):
    return [word for word in text.split() if word not in WORDS] * factor

def mapper(line, *, min_len: int = 3):
    """Map a line."""
    with opened(line) as line:
        line = GREEDY(line) + str(Kinds.LIST.value)
    for word in helper(line):
        if len(word) >= min_len and len(word) > LIMIT and PATTERN.match(word):
            yield CLEANER.clean(word), ADD(PART(cached(word))) + Point(1).x + Colour.RED.value
    yield json.dumps(TABLE), sum(map(lambda x: x + 1, [1]))

def combine(key, values):
    yield key, sum(values)

def reducer(key, values):
    if key == "bug":
        raise ValueError(REDUCER_LIMIT)
    yield key, sum(values)

job = Job(mapper, combiner=combine, reducer=reducer)
'''
OPTIONS = TaskOptions(job="j", output="/out", steps=(StepShape(4, 2),))
NAME = "identity_of_a_job"


def identity(source, options=OPTIONS, given=None, extra=(), files=""):
    """The identities of the job in a module of this source, as if it had been imported from a file."""
    module = types.ModuleType(NAME)
    module.__file__ = f"/project/{NAME}.py"
    before, dumps = sys.modules.get(NAME), json.dumps
    sys.modules[NAME] = module
    try:
        exec(compile(source, module.__file__, "exec"), vars(module))
        job = job_from_module(module)
        parts = [(NAME, source), *extra]
        package = Package("3.11", tuple(module_source(name, text) for name, text in parts), (NAME, "job"), b"", ())
        return identities_of(job, options, convert_parameters(job, given or {}), package, files)
    finally:
        json.dumps = dumps
        del sys.modules[NAME]
        if before is not None:
            sys.modules[NAME] = before


def module_source(name, text):
    return ModuleSource(name, f"/project/{name}.py", text.encode(), False)
