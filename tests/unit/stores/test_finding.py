"""Objects are found as files are: by name, below a prefix, by a glob, by a manifest; and they have versions."""

import tempfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.dataflow.stores.store import version_of
from mapreduce.errors import InputError


def fill(memory, names):
    for name in names:
        memory.pipe_file(f"/{name}", name.encode())


def found_below(*arguments):
    return [file.path.removeprefix("memory://b/") for file in find_inputs([f"memory://b/{one}" for one in arguments])]


def test_files_folders_and_globs(memory):
    """Objects are found as local files are: by name, below a prefix, by a glob; hidden ones only if asked for."""
    fill(memory, ["b/x/b.txt", "b/x/a.txt", "b/x/y/c.txt", "b/x/_h/d.txt", "b/x/.e", "b/xx", "b/x*"])
    assert found_below("x/a.txt") == ["x/a.txt"]
    assert found_below("x") == found_below("x/") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/*.txt") == ["x/a.txt", "x/b.txt"]
    assert found_below("x/**/*.txt") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/*") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/_*/*") == ["x/_h/d.txt"]
    assert found_below("x/[ac]*", "x/y", "x/*/c.txt") == ["x/a.txt", "x/y/c.txt"]
    assert found_below("x*") == ["x*"]
    assert found_below("x?") == ["x*", "xx"]
    for wrong, text in {
        "z": "no such input: memory://b/z",
        "z*": "no input matches",
        "x/y/*.q": "no input matches",
    }.items():
        with pytest.raises(InputError, match=text):
            found_below(wrong)


NAME = st.text("ab_.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
NAMES = st.lists(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=6, unique=True)
GLOB = st.lists(st.sampled_from(["*", "?", "a*", "[ab]", "_*", ".*", "*b", "**", "a", "b"]), min_size=1, max_size=3)


@given(NAMES, GLOB.map("/".join))
@example(["b"], "b/**")
@settings(max_examples=100, deadline=None)
def test_globs_are_those_of_local_files(names, pattern):
    """What a glob finds among local files it finds among objects of the same names."""
    names = [one for one in names if not any(other.startswith(f"{one}/") for other in names)]
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    fill(memory, [f"b/x/{name}" for name in names])
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, "x", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = outcome(lambda: found_below(f"x/{pattern}"))
        assert found == outcome(
            lambda: [file.path.removeprefix(f"{folder}/") for file in find_inputs([f"{folder}/x/{pattern}"])]
        )


def outcome(find):
    """What is found; None for nothing."""
    try:
        return find() or None
    except InputError:
        return None


def test_only_the_parts_of_a_manifest_are_input(memory):
    """Of a former output its parts are read, not what other attempts left; named outputs only where asked for."""
    manifest = (
        b'{"version": 1, "format": "tsv", "columns": {"key": [], "value": []}, "outputs": {"rare": 0}, "files": '
        b'[{"name": "part-00000-j-1", "records": 0, "bytes": 0, "checksum": ""}]}'
    )
    fill(memory, ["b/o/part-00000-j-1", "b/o/part-00000-j-2", "b/o/notes", "b/o/rare/part-00000-j-1"])
    memory.pipe_file("/b/o/_SUCCESS", manifest)
    memory.pipe_file("/b/o/rare/_SUCCESS", manifest)
    assert found_below("o") == found_below("o/*") == ["o/notes", "o/part-00000-j-1"]
    assert found_below("o/part-*") == ["o/part-00000-j-1"]
    assert found_below("o/rare") == ["o/rare/part-00000-j-1"]
    assert found_below("o/rare/*") == ["o/rare/part-00000-j-1"]
    assert found_below("") == ["o/notes", "o/part-00000-j-1"]


@pytest.mark.parametrize("content", [b"", b'{"name": "org.apache.hadoop.SuccessData/1", "filenames": []}'])
def test_outputs_of_other_engines_are_input(memory, content):
    """A `_SUCCESS` that is no manifest, as Spark leaves one, says nothing of the files beside it: all are read."""
    fill(memory, ["b/o/part-00000-c000.csv", "b/o/part-00001-c000.csv"])
    memory.pipe_file("/b/o/_SUCCESS", content)
    assert found_below("o") == ["o/part-00000-c000.csv", "o/part-00001-c000.csv"]


def test_an_output_in_the_making_is_no_input(memory):
    """What a running or dead job has written is refused: no manifest says what of it counts."""
    fill(memory, ["b/o/part-00000-j-1", "b/o/_tmp-j/_reserved"])
    with pytest.raises(InputError, match="memory://b/o is the output folder of a job that is running or has died"):
        found_below("o")


def test_a_version_changes_with_the_content(memory):
    """The same object has the same version in a list and by itself; another content has another."""
    memory.pipe_file("/b/x/a", b"one")
    (listed,), (alone,) = find_inputs(["memory://b/x"]), find_inputs(["memory://b/x/a"])
    assert listed == alone
    memory.pipe_file("/b/x/a", b"two")
    assert find_inputs(["memory://b/x/a"])[0].version != alone.version
    assert 0 <= alone.version < 1 << 63
    tagged = [{"ETag": tag, "size": 3} for tag in ('"x"', "x", 'W/"x"', "y")]
    assert [version_of(one) == version_of(tagged[0]) for one in tagged] == [True, True, True, False]
