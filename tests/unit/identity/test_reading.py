"""What a step reads beside its input: parameters through `ctx`, and variables of the environment."""

import pytest
from identities import OPTIONS, identity

from mapreduce.failed.outcome import told
from mapreduce.identity.steps import changed_since
from mapreduce.plan import StepShape
from mapreduce.protocol.messages import JobStatus, StepStatus

END = """
def reducer(key, values, *, top: int = 1):
    yield key, sum(values)
"""
COUNTS = {
    "counters": "def mapper(line, *, ctx):\n    ctx.counters['n'] += 1\n    yield line, 1\n",
    "all that is no parameter": "def mapper(line, *, ctx):\n    ctx.warn(ctx.path)\n"
    "    yield ctx.random.random(), ctx.files['a'], ctx.task, [ctx.index], ctx.offset\n",
    "a helper of its own": "def helper(line, by):\n    return line * by\n"
    "def mapper(line, *, ctx):\n    ctx.counters['n'] += 1\n    yield helper(line, 2), 1\n",
}
LOOKS = {
    "params": "def mapper(line, *, ctx):\n    yield ctx.params['top'], 1\n",
    "params through getattr": "def mapper(line, *, ctx):\n    yield getattr(ctx, 'par' + 'ams')['top'], 1\n",
    "params through vars": "def mapper(line, *, ctx):\n    yield vars(ctx)['params']['top'], 1\n",
    "params through vars()": "def mapper(line, *, ctx):\n    ctx.task\n    yield vars()['ctx'].params['top'], 1\n",
    "params through locals": "def mapper(line, *, ctx):\n    ctx.task\n    yield locals()['ctx'].params['top'], 1\n",
    "params through locals by another name": "L = [locals]\n"
    "def mapper(line, *, ctx):\n    ctx.task\n    yield L[0]()['ctx'].params['top'], 1\n",
    "params through locals of another module": "import builtins\n"
    "def mapper(line, *, ctx):\n    ctx.task\n    yield builtins.locals()['ctx'].params['top'], 1\n",
    "params through a frame": "def mapper(line, *, ctx):\n    ctx.task\n"
    "    yield (yield).gi_frame.f_locals['ctx'].params['top'], 1\n",
    "params through eval": "def mapper(line, *, ctx):\n    ctx.task\n    yield eval('ctx').params['top'], 1\n",
    "a pattern": "from mapreduce.dataflow.context import Context\n"
    "def mapper(line, *, ctx):\n    match ctx:\n        case Context(params=p):\n            yield p['top'], 1\n",
    "a method's own object": "def mapper(line, *, ctx):\n    w = ctx.warn\n    yield w.__self__.params['top'], 1\n",
    "handed on": "def helper(c):\n    return c.params['top']\ndef mapper(line, *, ctx):\n    yield helper(ctx), 1\n",
    "handed on by name": "def helper(*, ctx):\n    return ctx.params['top']\n"
    "def mapper(line, *, ctx):\n    yield helper(ctx=ctx), 1\n",
    "by another name": "def mapper(line, *, ctx):\n    c = ctx\n    yield c.params['top'], 1\n",
    "in a lambda": "def mapper(line, *, ctx):\n    yield (lambda: ctx.params['top'])(), 1\n",
    "in a method": "class mapper:\n    def __init__(self, *, ctx):\n        self.ctx = ctx\n"
    "    def __call__(self, line):\n        yield self.ctx.params['top'], 1\n",
    "decorated": "import functools\ndef own(f):\n    @functools.wraps(f)\n    def g(*a, **k):\n"
    "        return f(*a, **k)\n    return g\n@own\ndef mapper(line, *, ctx):\n    yield ctx.params['top'], 1\n",
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_mapper_that_reads_no_parameters_does_not_depend_on_them(name):
    """A function may take `ctx` for its counters: parameters of the reducer are then none of its own."""
    one, other = (identity(COUNTS[name] + END, given={"top": top}) for top in (1, 2))
    assert changed_since(one, other) == ("parameters of the reducer",)


@pytest.mark.parametrize("name", LOOKS)
def test_a_mapper_that_may_read_any_parameter_depends_on_all(name):
    """Whatever way there is from `ctx` to its parameters, or may be, all of their values count."""
    one, other = (identity(LOOKS[name] + END, given={"top": top}) for top in (1, 2))
    assert "parameters" in changed_since(one, other)


READS = "import os\ndef mapper(line):\n    yield os.environ.get('IDR'), 1\n"


def said(one, other):
    steps = (StepStatus(StepShape(6, 1), 6),)
    return told(JobStatus("j", "j", "done", steps, former_maps=6, changed=changed_since(one, other)))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (READS + END, "environment variable IDR changed: 6 maps run again"),
        (READS.replace(".get('IDR')", "") + END, "environment variables changed: 6 maps run again"),
        (READS.replace("environ.get", "getenv") + END, "environment variable IDR changed: 6 maps run again"),
        (
            "import os\nif os.environ['IDR'] == '1':\n    print()\ndef mapper(line):\n    yield 1, 1\n" + END,
            "environment variable IDR changed: 6 maps run again",
        ),
        (
            "def mapper(line):\n    import sys, os\n    yield os.environ['IDR'], 1\n" + END,
            "environment variables changed: 6 maps run again",
        ),
    ],
)
def test_a_changed_variable_is_told_by_its_name(source, text, monkeypatch):
    """Nobody has edited the mapper: the variable that it reads is named, where code names it."""
    monkeypatch.setenv("IDR", "1")
    one = identity(source)
    assert changed_since(one, identity(source)) == ()
    monkeypatch.setenv("IDR", "2")
    assert said(one, identity(source)) == text


def test_a_variable_of_the_reducer_leaves_the_maps(monkeypatch):
    """What the reducer reads of the environment is told, and is none of what map results depend on."""
    source = "import os\ndef mapper(line):\n    yield 1, 1\n" + END.replace("yield key", "yield os.getenv('IDR')")
    monkeypatch.setenv("IDR", "1")
    one = identity(source)
    monkeypatch.setenv("IDR", "2")
    other = identity(source)
    assert one[0].maps == other[0].maps
    assert changed_since(one, other) == ("reducer's environment variable IDR",)


def test_a_variable_that_is_newly_read_is_an_edit(monkeypatch):
    """Where code reads another variable, it is the code that has changed."""
    monkeypatch.setenv("IDR", "1")
    one, other = identity(READS + END), identity(READS.replace("IDR", "IDR_2") + END)
    assert changed_since(one, other) == ("mapper",)


def test_a_variable_that_is_read_at_import_is_told_once(monkeypatch):
    """It counts for all steps, and is named without one."""
    source = "import os\nif os.environ['IDR'] == '1':\n    print()\nfrom mapreduce import Job, Step\n"
    source += "def mapper(line):\n    yield 1, 1\ndef second(key, value):\n    yield 1, 1\ndef reducer(key, values):\n"
    source += "    yield 1, 1\njob = Job(steps=[Step(mapper, reducer=reducer), Step(second, reducer=reducer)])\n"
    two = type(OPTIONS)(job="j", output="/out", steps=(StepShape(4, 2), StepShape(2, 2)))
    monkeypatch.setenv("IDR", "1")
    one = identity(source, two)
    monkeypatch.setenv("IDR", "2")
    assert changed_since(one, identity(source, two)) == ("environment variable IDR",)
