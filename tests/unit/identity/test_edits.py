"""What a job's map results depend on: an edit shows exactly where it is reached, and is told by its role."""

import dataclasses
import decimal
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import BASE, NAME, OPTIONS, identity

from mapreduce.identity.steps import changed_since, identities_of
from mapreduce.plan import StepShape, TaskOptions
from mapreduce.protocol.plain import unpack
from mapreduce.targets import load_job
from mapreduce.travel.package import Package, build_package

# What is replaced by what, and whether map results then change.
EDITS = {
    "a comment": ("    for word in helper(line):", "    # words\n    for word in helper(line):", False),
    "lines above": ("LIMIT = 3", "\n\n\nLIMIT = 3", False),
    "an unused global": ("UNUSED = 1", "UNUSED = 2", False),
    "the reducer": ('if key == "bug"', 'if key == "bugs"', False),
    "a constant of the reducer": ("REDUCER_LIMIT = 9", "REDUCER_LIMIT = 10", False),
    "an import for nobody": ("import decimal", "import decimal, csv", False),
    "a helper for the reducer": ("def reducer(", "def more():\n    return 1\n\ndef reducer(", False),
    "the mapper": ("yield json.dumps", "yield len(json.dumps(TABLE)), 0\n    yield json.dumps", True),
    "a constant in the mapper": ("x + 1, [1]", "x + 1, [2]", True),
    "a constant's type in the mapper": ("x + 1, [1]", "x + 1, [True]", True),
    "a lambda in the mapper": ("lambda x: x + 1", "lambda x: x + 2", True),
    "a parameter's default": ("min_len: int = 3", "min_len: int = 4", True),
    "a global number": ("LIMIT = 3", "LIMIT = 4", True),
    "a global number's type": ("LIMIT = 3", "LIMIT = 3.0", True),
    "a global set": ('"b", "c"}', '"b", "d"}', True),
    "a global table": ("(3, {4})", "(3, {5})", True),
    "a global pattern": ('"[a-z]+"', '"[a-y]+"', True),
    "a pattern's flags": ('compile("[a-z]+")', 'compile("[a-z]+", re.ASCII)', True),
    "a helper": ("not in WORDS", "in WORDS", True),
    "a helper's default": ("factor=2", "factor=3", True),
    "a decorator": ("return function(*args, **kwargs)", "return list(function(*args, **kwargs))", True),
    "no decorator": ("@traced\ndef", "def", True),
    "a closure's value": ("ADD = adder(2)", "ADD = adder(3)", True),
    "a closure's code": ("return value + number", "return number - value", True),
    "a partial's argument": ("functools.partial(max, 5)", "functools.partial(max, 6)", True),
    "a partial's function": ("functools.partial(max, 5)", "functools.partial(min, 5)", True),
    "a cached function": ("return len(text)", "return len(text) + 1", True),
    "a method": ("self.inherited(text) + self.mark", "self.mark + self.inherited(text)", True),
    "an inherited method": ("text.lower()", "text.upper()", True),
    "an inherited constant": ("SIZE = 4", "SIZE = 5", True),
    "a base class": ("class Cleaner(Base)", "class Cleaner(Base, dict)", True),
    "a property": ("return self.SIZE", "return -self.SIZE", True),
    "a static method": ("text.strip()", "text.rstrip()", True),
    "an object's state": ('cls("?")', 'cls("+")', True),
    "a member of an enum": ("RED = 1", "RED = 2", True),
    "a value of an enum that is no key": ("LIST = [1]", "LIST = [2]", True),
    "what a library's decorator wraps": ("yield text * 1", "yield text * 2", True),
    "no library's decorator": ("@contextlib.contextmanager\n", "", True),
    "an object of a library": ('"strip", "x"', '"strip", "y"', True),
    "a field's default": ("x: int = 0", "x: int = 1", True),
    "the combiner": ("    yield key, sum(values)\n\ndef reducer", "    yield key, max(values)\n\ndef reducer", True),
    "no combiner": ("combiner=combine, ", "", True),
    "what the module does": ("job = Job", "decimal.getcontext().prec = 9\njob = Job", True),
    "a seed set by the module": ("job = Job", "import random\nrandom.seed(5)\njob = Job", True),
    "a library's function replaced": ("UNUSED = 1", "json.dumps = lambda value: ''", True),
    "sorted values": ("combiner=combine, ", "sort_values=True, ", True),
    "a partitioner": ("reducer=reducer)", "reducer=reducer, partitioner=lambda key, parts: 0)", True),
    "frames": (
        "job = Job(mapper, combiner=combine, ",
        "from mapreduce import Csv\njob = Job(mapper, input=Csv(), combiner=combine, ",
        True,
    ),
}


@pytest.fixture(scope="module")
def base():
    return identity(BASE)


@pytest.mark.parametrize("edit", EDITS)
def test_edits_of_what_the_map_side_reaches_show(base, edit):
    """An edit changes the map side's identity exactly if the map side reaches what was edited."""
    old, new, changes = EDITS[edit]
    assert BASE.count(old) >= 1
    found = identity(BASE.replace(old, new))
    assert (found[0].maps != base[0].maps) is changes, changed_since(base, found)


def test_an_edited_reducer_is_named(base):
    """What changed is told by the name of its role: the reducer alone, or the mapper alone."""
    assert changed_since(base, identity(BASE.replace('"bug"', '"bags"'))) == ("reducer",)
    assert changed_since(
        base, identity(BASE.replace("yield json.dumps", "yield len(json.dumps(TABLE)), 0\n    yield json.dumps"))
    ) == ("mapper",)
    assert changed_since(base, base) == ()
    assert not [digest for digest in base[0].maps.values() if " " in digest]


@pytest.mark.parametrize(
    "dynamic",
    [
        "eval('1')",
        "(lambda: 0).__code__",
        "list(map(FOUND, '1'))",
        "import_module('json')",
        "loads(b'')",
        "job_module.__dict__",
        "exec('x = 1')",
        "globals()",
        "__import__('json')",
        "type(mapper).__subclasses__(int)",
        "__import__('importlib')",
        "sys.modules",
        "sys._getframe()",
    ],
)
def test_what_cannot_be_judged_counts_all_code(dynamic):
    """Where a function finds code while it runs, an edit anywhere in the package changes its identity."""
    head = "import sys\nfrom importlib import import_module\nfrom pickle import loads\nFOUND = eval\n"
    head += f"job_module = sys.modules[{NAME!r}]\n"
    source = head + BASE.replace('    """Map a line."""', f"    {dynamic}")
    one, other = identity(source), identity(source.replace("UNUSED = 1", "UNUSED = 2"))
    assert one[0].maps["mapper"] != other[0].maps["mapper"]
    assert one[0].maps["combiner"] == other[0].maps["combiner"]
    assert " " in one[0].maps["mapper"]


@pytest.mark.parametrize(
    ("change", "maps"),
    [
        ({"seed": 1}, True), ({"encoding": "latin-1"}, True), ({"encoding_errors": "skip"}, True),
        ({"steps": (StepShape(4, 3),)}, True), ({"output": "/else"}, False), ({"output_format": "jsonl"}, False),
        ({"job": "k"}, False), ({"overwrite": True}, False), ({"steps": (StepShape(4, 2, "titled"),)}, False),
    ],
)  # fmt: skip
def test_options_that_matter_show(base, change, maps):
    """Options that shape map results change their identity, those of the output do not."""
    assert (identity(BASE, dataclasses.replace(OPTIONS, **change))[0].maps != base[0].maps) is maps


def test_parameters_count_where_they_are_taken(base):
    """A parameter's value shows for the functions that take it; those of the reducer are none of the map side's."""
    assert identity(BASE, given={"min_len": 4})[0].maps != base[0].maps
    source = BASE.replace("def reducer(key, values)", "def reducer(key, values, *, top: int = 1)")
    one, other = identity(source, given={"top": 1}), identity(source, given={"top": 2})
    assert one[0].maps == other[0].maps
    assert changed_since(one, other) == ("parameters of the reducer",)
    assert identity(BASE, files="f" * 64)[0].maps != base[0].maps


def test_imported_project_modules_are_followed(tmp_path, monkeypatch):
    """Functions of other modules of the project count by what they reach, whatever way they are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits of the same second and size are not told apart
    text = "import idn_b\nfrom idn_b import one as uno\nimport idn_c\ndef mapper(line):\n    from idn_c import low\n"
    text += (
        "    yield idn_b.two(line), uno(line), low(line)\ndef reducer(key, values):\n    yield key, idn_b.three(1)\n"
    )
    files = {
        "idn_a.py": text,
        "idn_b.py": "K = 1\ndef one(x):\n    return x\ndef two(x):\n    return x * K\ndef three(x):\n    return x\n",
        "idn_c.py": "def low(x):\n    return x.lower()\n",
    }
    edits = [
        ("idn_b.py", "return x\ndef two", "return -x\ndef two", True),
        ("idn_b.py", "K = 1", "K = 2", True),
        ("idn_b.py", "def three(x):\n    return x", "def three(x):\n    return x + 1", False),
        ("idn_c.py", "lower", "upper", True),
        ("idn_c.py", "def low", "import decimal\ndecimal.getcontext().prec = 5\ndef low", True),
    ]
    with decimal.localcontext():
        wanted = _planned(tmp_path, files)
        for file, old, new, changes in edits:
            found = _planned(tmp_path, files | {file: files[file].replace(old, new)})
            assert (found != wanted) is changes, (file, new)


def _planned(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)
        sys.modules.pop(name.removesuffix(".py"), None)
    loaded = load_job("idn_a.py")
    package = unpack(Package, build_package(loaded))
    return identities_of(loaded.job, OPTIONS, {}, package, "")[0].maps


def test_the_demos_can_be_judged():
    """Nothing in the bundled jobs makes the whole package count."""
    for name in ("word_count", "inverted_index", "log_sessions", "terasort", "feature_extraction", "join_licences"):
        loaded = load_job(f"@{name}")
        options = TaskOptions("j", "/o", steps=tuple(StepShape(2, 2) for _ in loaded.job.resolved))
        package = unpack(Package, build_package(loaded))
        for one in identities_of(loaded.job, options, {}, package, ""):
            facts = {fact: digest for fact, digest in (one.maps | one.reduces).items() if " " in digest}
            assert not facts, (name, facts)


NAMES = [f"f{n}" for n in range(8)]


@st.composite
def programs(draw):
    """Functions that call later ones, with a constant each; and which of them the mapper reaches."""
    calls = {n: draw(st.sets(st.integers(n + 1, 7), max_size=3)) if n < 7 else set() for n in range(8)}
    numbers = [draw(st.integers(0, 3)) for _ in range(8)]
    return calls, numbers


def _source(calls, numbers):
    lines = []
    for n, name in enumerate(NAMES):
        inner = " + ".join([str(numbers[n]), *(f"f{other}(x)" for other in sorted(calls[n]))])
        lines.append(f"def {name}(x):\n    return {inner}\n")
    return (
        "".join(lines) + "def mapper(line):\n    yield f0(line), 1\ndef reducer(key, values):\n    yield key, f4(1)\n"
    )


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 7))
def test_a_mutation_shows_exactly_where_it_is_reached(program, place):
    """Whatever function is edited, the mapper's identity changes exactly if the mapper reaches that function."""
    calls, numbers = program
    reached, waiting = set(), [0]
    while waiting:
        n = waiting.pop()
        if n not in reached:
            reached.add(n)
            waiting += calls[n]
    edited = [number + (n == place) for n, number in enumerate(numbers)]
    one, other = identity(_source(calls, numbers)), identity(_source(calls, edited))
    assert (one[0].maps != other[0].maps) is (place in reached)
