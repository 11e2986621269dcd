"""What a mapper feels without naming it: windows to all code, module-level effects, the environment, values of files.

Each case is a small project that is loaded twice, before and after an edit, in processes of their own.
"""

import json
import os
import subprocess
import sys

import pytest

LOADER = """
import json, os, sys, time
from pathlib import Path
import numpy, polars
import mapreduce
from mapreduce.identity.steps import identities_of
from mapreduce.travel.package import Package, build_package
from mapreduce.plan import StepShape, TaskOptions
from mapreduce.protocol.plain import unpack
from mapreduce.targets import load_job

sys.dont_write_bytecode = True
write, base = json.dumps, Path.cwd()


def facts():
    found = load_job("job.py")
    options = TaskOptions("j", "/o", steps=(StepShape(2, 2),))
    (one,) = identities_of(found.job, options, {}, unpack(Package, build_package(found)), "")
    return one.maps, one.is_known


def in_a_process(number, name, files, env):
    folder = base / str(number) / name
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    pid = os.fork()
    if not pid:
        os.environ.update(env)
        time.tzset()
        os.chdir(folder)
        (folder / "facts").write_text(write(facts()))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (number, files)
    return json.loads((folder / "facts").read_text())


cases = json.loads(Path("cases").read_text())
found = [
    [in_a_process(number, "p", old, env), in_a_process(number, "p", new, new_env)]
    for number, (old, new, env, new_env) in enumerate(cases)
]
print(write(found))
"""
END = """
def reducer(key, values):
    yield key, sum(values)
from mapreduce import Job
job = Job(mapper, reducer=reducer)
"""
HELPER = "def helper(x): return x + 1\ndef mapper(line):\n    {body}\n"
PRECISION = "import decimal\ndef mapper(line):\n    yield str(decimal.Decimal(1) / 3), 1\n"
EFFECT = "decimal.getcontext().prec = 5"
CODEC = (
    "def search(name): return codecs.CodecInfo(lambda text, e='': (b'a', 1), None, name='xx') if name == 'xx' else None"
)
ENCODES = "def mapper(line):\n    yield line.encode('xx'), 1\n"


def helped(body, head=""):
    """A mapper that finds its helper in this way; the helper is edited."""
    return {"job.py": head + HELPER.format(body=body)}, "x + 1", "x + 2"


def effect(*lines):
    """A module that sets the precision of decimals when it is imported, in this way; the precision is edited."""
    return {"job.py": PRECISION + "\n".join(lines) + "\n"}, "prec = 5", "prec = 6"


def fed(source, **files):
    """A module that reads the file `fed`, which is edited."""
    return {"job.py": source, "fed": "1", **{f"{name}.py": text for name, text in files.items()}}, "fed", "2"


def limits(source, head="from __future__ import annotations\nimport typing\n"):
    """A mapper that finds the class Limits by a text in an annotation; a constant of it is edited."""
    return {"job.py": f"{head}class Limits:\n    SIZE = 3\n{source}"}, "SIZE = 3", "SIZE = 4"


SHOW = {
    "builtins.eval": helped("yield builtins.eval('helper(1)'), 1", "import builtins\n"),
    "eval from builtins": helped("from builtins import eval as e; yield e('helper(1)'), 1"),
    "builtins, looked into": helped("yield getattr(builtins, 'ev' + 'al')('helper(1)'), 1", "import builtins\n"),
    "sys by another name": helped("yield s.modules[__name__].helper(1), 1", "import sys as s\n"),
    "sys imported inside": helped("import sys; yield sys.modules[__name__].helper(1), 1"),
    "sys.modules imported inside": helped("from sys import modules; yield modules[__name__].helper(1), 1"),
    "sys, looked into": helped("yield getattr(sys, 'mod' + 'ules')[__name__].helper(1), 1", "import sys\n"),
    "pydoc.locate": helped("yield pydoc.locate(__name__ + '.helper')(1), 1", "import pydoc\n"),
    "annotations of a function": limits(
        "def f(x: Limits): pass\ndef mapper(line):\n    yield typing.get_type_hints(f)['x'].SIZE, 1\n"
    ),
    "annotations of a class": limits(
        "class A:\n    x: Limits\ndef mapper(line):\n    yield typing.get_type_hints(A)['x'].SIZE, 1\n"
    ),
    "annotations in a list": limits(
        "class A:\n    x: list['Limits']\ndef mapper(line):\n    yield typing.get_type_hints(A)['x'], 1\n",
        "import typing\n",
    ),
    "annotations that are optional": limits(
        "class A:\n    x: typing.Optional['Limits']\ndef mapper(line):\n    yield typing.get_type_hints(A)['x'], 1\n",
        "import typing\n",
    ),
    "an effect where __name__ is not __main__": effect("if __name__ != '__main__':", f"    {EFFECT}"),
    "an effect of a metaclass": effect(
        "class M(type):", "    def __init__(cls, *rest):", f"        {EFFECT}", "class A(metaclass=M): pass"
    ),
    "an effect of __init_subclass__": effect(
        "class B:", "    def __init_subclass__(cls):", f"        {EFFECT}", "class A(B): pass"
    ),
    "an effect of an annotation": effect("def e():", f"    {EFFECT}", "    return int", "def f(x: e()): pass"),
    "an effect of a name's annotation": effect("def e():", f"    {EFFECT}", "    return int", "x: e() = 1"),
    "an effect of a base": effect("def e():", f"    {EFFECT}", "    return object", "class A(e()): pass"),
    "an effect of a handler": effect(
        "def e():", f"    {EFFECT}", "    return ValueError", "try: int('a')", "except e(): pass"
    ),
    "an effect of sorting": effect("def e(x):", f"    {EFFECT}", "    return x", "X = sorted([2, 1], key=e)"),
    "an effect of a list's sorting": effect("def e(x):", f"    {EFFECT}", "    return x", "X = [1]", "X.sort(key=e)"),
    "an effect of folding": effect(
        "import functools", "def e(x, y):", f"    {EFFECT}", "X = functools.reduce(e, [2, 1])"
    ),
    "registered by a library's decorator": (
        {"job.py": f"import codecs\n@codecs.register\n{CODEC}\n{ENCODES}"}, "b'a'", "b'b'",
    ),
    "registered by an own decorator": (
        {"job.py": f"import codecs\ndef own(f):\n    codecs.register(f)\n    return f\n@own\n{CODEC}\n{ENCODES}"},
        "b'a'", "b'b'",
    ),
    "registered in a class": (
        {"job.py": f"import codecs\nclass A:\n    @codecs.register\n    {CODEC}\n{ENCODES}"}, "b'a'", "b'b'",
    ),
    "a namespace of Polars": (
        {"job.py": "import polars as pl\n@pl.api.register_expr_namespace('idr')\n"
         "class My:\n    def __init__(self, e):\n"
         "        self.e = e\n    def go(self):\n        return self.e + 1\n"
         "def mapper(line):\n    yield pl.select(pl.lit(1).idr.go()).item(), 1\n"}, "self.e + 1", "self.e + 2",
    ),
    "a method of an own logger": (
        {"job.py": "import logging\nclass L(logging.Logger):\n    def clean(self, x): return 1\nlog = L('x')\n"
         "def mapper(line):\n    yield log.clean(line), 1\n"}, "return 1", "return 2",
    ),
    "a function of the module in a Polars expression": (
        {"job.py": "import polars as pl\nfrom made import made\ndef helper(x): return x + 1\nE = made(helper)\n"
         "def mapper(line):\n    yield pl.select(E).item(), 1\n",
         "made.py": "import polars as pl\ndef made(f): return pl.lit(1).map_elements(f, return_dtype=pl.Int64)\n"},
        "x + 1", "x + 2",
    ),
    "a value that cannot be written down": fed(
        "N = open('fed').read()\nG = (N for _ in 'ab')\ndel N\ndef mapper(line):\n    yield next(G), 1\n"
    ),
    "an open file": fed("F = open('fed')\ndef mapper(line):\n    yield F.read(), 1\n"),
    "a large array": fed(
        "import numpy as np\nA = np.full(9_000_000, int(open('fed').read()))\ndef mapper(line):\n    yield A[0], 1\n"
    ),
    "a value that eval reads": fed("N = open('fed').read()\ndef mapper(line):\n    yield eval('N'), 1\n"),
    "a value among globals()": fed("N = open('fed').read()\ndef mapper(line):\n    yield globals()['N'], 1\n"),
    "a value of another module that eval reads": fed(
        "import m\ndef mapper(line):\n    yield eval('m.N'), 1\n", m="N = open('fed').read()\n"
    ),
    "a value of a module that is imported inside": fed(
        "def mapper(line):\n    from m import N\n    yield N, 1\n", m="N = open('fed').read()\n"
    ),
    "a value that SQL names": fed(
        "import polars as pl\nT = pl.DataFrame({'a': [open('fed').read()]})\n"
        "def mapper(line):\n    yield pl.sql('select a from T').collect().item(), 1\n"
    ),
    "a value put into a library": fed(
        "import json\njson.LIMIT = int(open('fed').read())\ndef mapper(line):\n    yield json.LIMIT, 1\n"
    ),
}  # fmt: skip
VARIABLES = {
    "os.environ.get": "import os\ndef mapper(line):\n    yield os.environ.get('IDR', '1'), 1\n",
    "os.environ[]": "import os\ndef mapper(line):\n    yield os.environ['IDR'], 1\n",
    "os.getenv": "import os\ndef mapper(line):\n    yield os.getenv('IDR'), 1\n",
    "getenv": "from os import getenv\ndef mapper(line):\n    yield getenv('IDR'), 1\n",
    "a name that is put together": "import os\ndef mapper(line):\n    yield os.getenv('ID' + line), 1\n",
    "an alias": "import os\nE = os.environ\ndef mapper(line):\n    yield E['IDR'], 1\n",
    "what cannot be judged": "def mapper(line):\n    import sys\n    import os\n    yield os.environ['IDR'], 1\n",
    "eval": 'def mapper(line):\n    yield eval(\'__import__("os").environ["IDR"]\'), 1\n',
    "os imported inside": "def mapper(line):\n    import os\n    yield os.environ['IDR'], 1\n",
    "an effect": f"import os\n{PRECISION}if os.environ['IDR'] == '1':\n    {EFFECT}\n",
}
# What map results do not depend on, although it looks alike.
KEPT = "def unused(): return 1\n"
STAY = {
    "a class with a setter": "class R:\n    @property\n    def x(self): return 1\n"
    "    @x.setter\n    def x(self, v): pass\n"
    "    def y(self):\n        def unused(): return 1\n",
    "an own decorator": "import functools\ndef own(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n"
    f"    return g\n@own\n{KEPT}",
    "a table read at import": f"import json\nwith open('fed') as f:\n    T = json.load(f)\n{KEPT}"
    "def mapper(line):\n    yield T, 1\n",
    "common classes": "import abc, enum\nfrom dataclasses import dataclass, field\n"
    "from typing import Generic, NamedTuple, Protocol, TypedDict, TypeVar\nT = TypeVar('T')\n"
    "class B(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
    "class A(B, Generic[T]):\n    def f(self): return 1\n"
    "class E(enum.Enum):\n    A = enum.auto()\nclass P(NamedTuple):\n    x: int\nclass Q(Protocol): ...\n"
    "class D(TypedDict):\n    x: int\n@dataclass(slots=True)\n"
    "class F:\n    x: list[int] = field(default_factory=list)\n"
    f"class X(ValueError): pass\n{KEPT}def mapper(line):\n    yield A().f(), P(1).x + E.A.value + len(F().x)\n",
    "a script's own end": f"{KEPT}if __name__ == '__main__':\n    print('x')\n",
    "a variable that is named": f"import os\n{KEPT}def mapper(line):\n    yield os.environ.get('HOME'), 1\n",
    "modules imported inside": f"{KEPT}def mapper(line):\n    import json, os\n    yield os.path.basename(line), 1\n",
}
JUDGED_BY_ALL_CODE = {
    "eval": "def mapper(line):\n    yield eval('1'), 1\n",
    "eval, beside values of all sorts": "import json, logging, re, numpy as np\nlog = logging.getLogger('x')\n"
    "P = re.compile('a')\nA = np.zeros(3)\nL = [lambda: eval('1')]\ndef mapper(line):\n    yield eval('1'), 1\n",
    "inspect": "import inspect\ndef mapper(line):\n    yield str(inspect.stack()), 1\n",
    "a module imported inside": "def mapper(line):\n    import m\n    yield m.f(1), 1\n",
}


def _edited(files, what, new):
    """The files before and after: `what` is a file with other content, or a text in one of them."""
    if what in files:
        return files, files | {what: new}
    assert any(what in text for text in files.values())
    return files, {name: text.replace(what, new) for name, text in files.items()}


def _cases():
    for name, (files, what, new) in SHOW.items():
        old, edited = _edited(files | {"job.py": files["job.py"] + END}, what, new)
        yield name, old, edited, {}, {}
    for name, source in VARIABLES.items():
        files = {"job.py": source + END}
        yield f"{name} of the environment", files, files, {"IDR": "1"}, {"IDR": "2"}
    for name, source in STAY.items():
        mapper = "" if "def mapper" in source else "def mapper(line):\n    yield line, 1\n"
        files = {"job.py": source + mapper + END, "fed": "1"}
        old, edited = _edited(files, "def unused(): return 1", "def unused(): return 2")
        yield name, old, edited, {"OTHER": "1"}, {"OTHER": "2"}
    for name, source in JUDGED_BY_ALL_CODE.items():
        files = {"job.py": source + END, "m.py": "import json\nK = 3\ndef f(x): return x\n"}
        yield f"unedited: {name}", files, files, {}, {}
    files = {"job.py": "import time\ndef mapper(line):\n    yield time.localtime(0).tm_hour, 1\n" + END}
    yield "the time zone", files, files, {"TZ": "UTC"}, {"TZ": "Asia/Tokyo"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By the name of a case its facts before and after the edit, and whether they are known."""
    folder = tmp_path_factory.mktemp("projects")
    cases = list(_cases())
    (folder / "cases").write_text(json.dumps([case[1:] for case in cases]))
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOADER],
        cwd=folder, env={"PYTHONHASHSEED": "0", "PATH": "", "HOME": os.environ.get("HOME", "/")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip([case[0] for case in cases], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", [*SHOW, *(f"{name} of the environment" for name in VARIABLES), "the time zone"])
def test_what_a_mapper_feels_shows(found, name):
    """Whatever a mapper feels changes its identity when it changes, or makes it one that equals none."""
    (old, old_known), (new, new_known) = found[name]
    assert old != new or not (old_known and new_known)


@pytest.mark.parametrize("name", STAY)
def test_what_a_mapper_does_not_feel_does_not_show(found, name):
    """An edit of what the map side has nothing to do with leaves its identity, though it looks like what counts."""
    (old, old_known), (new, _) = found[name]
    assert old == new
    assert old_known


@pytest.mark.parametrize("name", JUDGED_BY_ALL_CODE)
def test_code_that_cannot_be_judged_is_the_same_without_an_edit(found, name):
    """Where all code counts, and all values that modules hold, nothing has changed as long as these have not."""
    (old, old_known), (new, _) = found[f"unedited: {name}"]
    assert old == new
    assert old_known
    assert any(" " in digest for digest in old.values())
