"""Values that functions reach: the same fingerprint exactly if they are the same, in every process."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from identities import BASE, identity

from mapreduce.identity.steps import changed_since
from mapreduce.identity.walk import fingerprint


def test_values_without_canonical_bytes_equal_nothing():
    """A global that nothing can write down, such as a generator, makes an identity that is not even its own."""
    source = BASE.replace("LIMIT = 3", "STREAM = (n for n in [1])\nLIMIT = 3").replace("> LIMIT", "> next(STREAM)")
    one, other = identity(source), identity(source)
    assert not one[0].is_known
    assert changed_since(one, other) == ("mapper (cannot be judged)",)


SHOW = """
import sys
from mapreduce.plan import TaskOptions, StepShape
from mapreduce.identity.steps import identities_of
from mapreduce.travel.package import Package, build_package
from mapreduce.protocol.plain import unpack
from mapreduce.targets import load_job
found = load_job(sys.argv[1])
options = TaskOptions("j", "/o", steps=tuple(StepShape(2, 2) for _ in found.job.resolved))
for one in identities_of(found.job, options, {}, unpack(Package, build_package(found)), ""):
    print(sorted(one.maps.items()), sorted(one.reduces.items()))
"""


def _shown(folder, target, seed="0"):
    done = subprocess.run(
        [sys.executable, "-P", "-c", SHOW, target],
        cwd=folder, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_identities_are_the_same_in_every_process(tmp_path):
    """Neither the hash seed nor the process shows: sets of strings and addresses leave no trace."""
    (tmp_path / "idn_same.py").write_text(BASE)
    first = _shown(tmp_path, "idn_same.py", "1")
    assert first == _shown(tmp_path, "idn_same.py", "2")
    assert "uses" not in first


VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2**70, 0.0, -0.0, 1.0, "", "a", b"", b"a", "\ud800"]),
    lambda some: st.lists(some, max_size=3) | st.tuples(some, some) | st.dictionaries(st.text("a"), some, max_size=2),
    max_leaves=6,
)  # fmt: skip


def _exact(value):
    """What tells values apart that are equal to Python: their types, and the sign of zeros."""
    if isinstance(value, dict):
        return ("dict", [(_exact(key), _exact(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value).__name__, [_exact(item) for item in value])
    return (type(value).__name__, repr(value))


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_values_have_the_same_fingerprint_exactly_if_they_are_the_same(one, other):
    """Two values that a function reaches count as the same only if types and contents are the same throughout."""
    assert (fingerprint(one) == fingerprint(other)) is (_exact(one) == _exact(other))


def test_cycles_end():
    """Objects that hold each other are gone through once."""
    left, right = [], {}
    left.append(right)
    right["left"] = left
    assert fingerprint(left) == fingerprint(left)
    assert fingerprint(left).unjudged == ""
