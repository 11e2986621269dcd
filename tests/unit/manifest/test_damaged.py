"""A manifest that was changed by hand: each reader gives records, or an error that names the manifest and the field."""

import contextlib
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce import Job
from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.dataflow.manifest.file import read_manifest
from mapreduce.dataflow.manifest.folder import read_frame, read_output, write_text_to
from mapreduce.errors import MapReduceError, OutputError

FORMATS = ("tsv", "jsonl.gz", "csv", "text", "msgpack", "parquet", "arrow")
TYPES = (
    "str",
    "int",
    "list",
    "tuple",
    "json",
    "none",
    '{"list":"int"}',
    '{"tuple":"int"}',
    '{"x":["int"]}',
    "{",
    "odd",
)


def pairs(line):
    yield line, [len(line)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Finished outputs by their formats, each with the content of its manifest."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "in").write_text("a\nbcd\n", encoding="utf-8")
    for name in FORMATS:
        job = Job(records=lambda line: [line]) if name == "text" else Job(pairs)
        mapreduce.run(job, folder / "in", folder / name, output_format=name, runner="inline")
    return {name: (folder / name, json.loads((folder / name / "_SUCCESS").read_text())) for name in FORMATS}


def refused(outputs, change, name="tsv"):
    """What reading says of an output whose manifest is changed."""
    folder, facts = outputs[name]
    facts = json.loads(json.dumps(facts))
    change(facts)
    (folder / "_SUCCESS").write_text(json.dumps(facts))
    with pytest.raises(OutputError) as told:
        list(read_output(folder))
    assert f"{folder}/_SUCCESS" in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.pop("files"), "it has no files"),
        (lambda facts: facts.pop("columns"), "it has no columns"),
        (lambda facts: facts["columns"].pop("key"), "it has no columns.key"),
        (lambda facts: facts["files"][0].pop("bytes"), "it has no files[0].bytes"),
        (lambda facts: facts.update(version="1"), 'version must be a whole number, 0 or more, and is "1"'),
        (lambda facts: facts.update(format="tvs"), "says format 'tvs', which this engine does not have"),
        (lambda facts: facts.update(format="parquet.gz"), "says format 'parquet.gz'"),
        (lambda facts: facts.update(format=None), "format must be text, and is null"),
        (lambda facts: facts.update(files={}), "files must be an array, and is {}"),
        (lambda facts: facts.update(files=[3]), "files[0] must be a JSON object, and is 3"),
        (
            lambda facts: facts["files"][0].update(bytes=-1),
            "files[0].bytes must be a whole number, 0 or more, and is -1",
        ),
        (lambda facts: facts["files"][0].update(records=1.5), "files[0].records must be a whole number"),
        (lambda facts: facts["files"][0].update(checksum=7), "files[0].checksum must be text, and is 7"),
        (lambda facts: facts["columns"].update(value="int"), 'columns.value must be an array, and is "int"'),
        (lambda facts: facts["columns"].update(value=[1]), "columns.value[0] must be text, and is 1"),
        (
            lambda facts: facts["columns"].update(value=["in"]),
            "in columns.value, there is no type 'in' of a column of TSV",
        ),
        (lambda facts: facts.update(outputs={"rare": -1}), "outputs.rare must be a whole number"),
        (lambda facts: facts.update(outputs=[]), "outputs must be a JSON object, and is []"),
    ],
)
def test_the_field_that_is_wrong_is_named(outputs, change, said):
    """Missing, of another type, negative, or a name that nothing has: the error says which, and what belongs there."""
    assert said in refused(outputs, change)


@pytest.mark.parametrize("types", [["in"], ['{"x":["in"]}'], ['{"x":"int"}'], ["{"]])
def test_types_that_csv_does_not_have_are_named(outputs, types):
    """Of CSV the types of a table's columns are looked at, too."""
    assert "in columns.value, " in refused(outputs, lambda facts: facts["columns"].update(value=types), "csv")


def test_a_damaged_manifest_is_no_input(outputs):
    """A folder with one is refused as an input, since its named outputs cannot be told from its results."""
    folder, facts = outputs["jsonl.gz"]
    (folder / "_SUCCESS").write_text(json.dumps(facts | {"outputs": 3}))
    with pytest.raises(OutputError, match="_SUCCESS is no manifest of a job: outputs must be"):
        find_inputs([str(folder)])
    for foreign in ("", "done at noon\n", '{"name": "org.apache.hadoop.fs.s3a.commit.files.SuccessData/1"}'):
        (folder / "_SUCCESS").write_text(foreign)
        assert [file.path for file in find_inputs([str(folder)])] == [f"{folder}/part-00000.jsonl.gz"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from([*FORMATS, "records", *TYPES])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def places(value, above=()):
    """All places in a JSON document, as keys from its top."""
    yield above
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[name], (*above, name))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_of_a_manifest_is_read_or_told(outputs, data):
    """Whatever is put in place of a part of it, or left out, no reader raises anything but an error of ours."""
    folder, facts = outputs[data.draw(st.sampled_from(sorted(outputs)))]
    changed = json.loads(json.dumps(facts))
    *above, last = data.draw(st.sampled_from([place for place in places(facts) if place]))
    inner = changed
    for name in above:
        inner = inner[name]
    if data.draw(st.booleans()):
        inner[last] = data.draw(JSON)
    else:
        del inner[last]
    (folder / "_SUCCESS").write_text(json.dumps(changed))
    for read in (
        lambda: list(read_output(folder)),
        lambda: read_frame(folder),
        lambda: write_text_to(io.BytesIO(), folder),
        lambda: write_text_to(io.BytesIO(), folder, 1),
        lambda: find_inputs([str(folder)]),
    ):
        with contextlib.suppress(MapReduceError):
            read()


def test_a_manifest_without_files_is_an_empty_output(outputs):
    """No part is no record, in each reader."""
    folder, facts = outputs["parquet"]
    (folder / "_SUCCESS").write_text(json.dumps(facts))
    (folder / "_SUCCESS").write_bytes(replace(read_manifest(folder), files=()).to_bytes())
    assert list(read_output(folder)) == []
    assert read_frame(folder).rows() == []
