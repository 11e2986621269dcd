"""Which files belong to which input, from the command line and from Python; and how several inputs are planned."""

from pathlib import Path

import pytest

import mapreduce
from mapreduce import Count, Csv, Files, Input, Job, JsonLines, Parquet, Records, Step, Text, UsageError
from mapreduce.dataflow.inputs.find import FILE_BYTES, InputFile, InputFiles, find_inputs, notes, plan_inputs
from mapreduce.dataflow.inputs.split_file import split_at, split_count
from mapreduce.describe import describe_job
from mapreduce.errors import InputError, JobDefinitionError, OutputError
from mapreduce.former_results import read_paths
from mapreduce.input_arguments import arguments_of, is_stdin
from mapreduce.joins import Join
from mapreduce.partitioners import ListPartitioner, RangePartitioner
from mapreduce.plan import Piece, Split
from mapreduce.planner import plan, shapes_of
from mapreduce.request import Request

MIB = 1 << 20


def pairs(value):
    yield value, 1


ONE = Job(pairs, reducer=Count())
TWO = Job(inputs={"clicks": Input(pairs), "users": Input(pairs, format=Csv())}, reducer=Count(), name="visits")


def test_paths_go_to_their_inputs():
    """A name before each path, in any order and several times; or a dict; without names all go to the one input."""
    wanted = (("logs/*.gz", "old=logs"), ("u.csv",))
    assert arguments_of(TWO, ("clicks=logs/*.gz", "users=u.csv", "clicks=old=logs")) == wanted
    assert arguments_of(TWO, {"users": ("u.csv",), "clicks": ("logs/*.gz", "old=logs")}) == wanted
    assert arguments_of(ONE, ("a=b.txt", "c")) == (("a=b.txt", "c"),)
    assert read_paths({"a": "x", "b": [Path("y"), "z"]}) == {"a": ("x",), "b": ("y", "z")}
    assert read_paths(Path("x")) == ("x",)


@pytest.mark.parametrize(
    ("job", "given", "message"),
    [
        (TWO, ("clicks=a", "user=b"), "the job visits has no input 'user'; its inputs are clicks, users: write clicks"),
        (TWO, ("clicks=a", "b"), "b: say which input of the job visits this is"),
        (TWO, ("clicks=a", "/x/users=b"), "/x/users=b: say which input"),
        (TWO, ("clicks=", "users=b"), "clicks= names no file"),
        (TWO, ("clicks=a",), "no files for the input users"),
        (TWO, {"clicks": ("a",), "users": ()}, 'no files for the input users .*"users": PATH'),
        (TWO, {"clicks": ("a",), 7: ("b",)}, "no input 7"),
        (TWO, (), "no files for the input clicks"),
        (ONE, {"clicks": ("a",)}, "one input without a name"),
        (ONE, (), "no inputs"),
        (ONE, ("a", ""), "an input is empty: name a file, a folder"),
        (TWO, {"clicks": ("a",), "users": ("",)}, "an input is empty"),
    ],
)
def test_names_that_do_not_fit_are_refused(job, given, message):
    """The message lists the names that there are."""
    with pytest.raises(UsageError, match=message):
        arguments_of(job, given)


def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch):
    """A variable that is not set would make a job read, or write, whatever folder it is started in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("a\n")
    for given in ("", ["in.txt", ""]):
        with pytest.raises(UsageError, match="an input is empty"):
            mapreduce.run(ONE, given, runner="inline")
    with pytest.raises(UsageError, match="the output is empty: name a folder"):
        mapreduce.run(ONE, "in.txt", "", runner="inline")
    assert list(mapreduce.run(ONE, Path(), runner="inline")) == [("a", 1)]  # that folder, by its name


@pytest.mark.parametrize("given", [5, None, b"x", ["a", None], {"a": 5}])
def test_what_is_no_path_is_refused(given):
    """From Python: what was given is shown."""
    with pytest.raises(UsageError, match="inputs are "):
        read_paths(given)


def test_a_name_for_the_only_input_is_told(tmp_path):
    """Of a job with one input: what to write instead."""
    (tmp_path / "b.txt").touch()
    with pytest.raises(InputError, match=f"without a name: write {tmp_path}/b.txt"):
        find_inputs([f"text={tmp_path}/b.txt"])
    with pytest.raises(InputError, match=r"no such input: text=missing \(/[^;]*$"):
        find_inputs(["text=missing"])


def test_standard_input_may_have_a_name(tmp_path, monkeypatch):
    """`-` and `users=-` are standard input; a file that is called so is a file."""
    monkeypatch.chdir(tmp_path)
    assert [is_stdin(text) for text in ("-", "users=-", "a-", "users=a-", "x/y=-")] == [True, True, False, False, False]
    Path("users=-").touch()
    assert not is_stdin("users=-")


def files(sizes, suffix=".txt"):
    return tuple(InputFile(f"/f{i}{suffix}", size, 7) for i, size in enumerate(sizes))


def test_splits_do_not_mix_inputs():
    """Small files of different inputs lie in splits of their own; map tasks come in the order of the inputs."""
    cut = plan_inputs([InputFiles(files([10, 10]), Text()), InputFiles(files([9 * MIB]), Text())])
    assert [(split.input, split.size) for split in cut.splits] == [(0, 20)] + [(1, 3 * MIB)] * 3
    assert (cut.maps, cut.broadcast) == ((1, 3), None)
    # The size of splits comes from all inputs together.
    large = [InputFiles(files([320 * MIB]), Text()), InputFiles(files([320 * MIB]), Text())]
    assert plan_inputs(large).maps == (12, 12)


def test_empty_inputs():
    """One of several may be empty, and has no task then; a job has one task at least."""
    nothing = InputFiles((), Text())
    assert plan_inputs([nothing, InputFiles(files([5]), Text())]).maps == (0, 1)
    cut = plan_inputs([nothing, nothing])
    assert (cut.splits, cut.maps) == ((Split(()),), (1, 0))


def test_a_broadcast_input_is_one_split_of_its_own():
    """Every task process reads all of it, so it has no map tasks; one that is too large is refused with advice."""
    left, right = InputFiles(files([10]), Text()), InputFiles(files([4, 5], ".gz"), Text())
    cut = plan_inputs([left, right], broadcast=9)
    assert cut.maps == (1, 0)
    assert cut.broadcast == Split(tuple(Piece(f"/f{i}.gz", 0, n, n, 7, whole=True) for i, n in ((0, 4), (1, 5))), 1)
    assert plan_inputs([InputFiles((), Text()), right], broadcast=9).maps == (1, 0)
    with pytest.raises(InputError, match=r"has 9 bytes.*at most 8.*Leave broadcast=True out"):
        plan_inputs([left, right], broadcast=8)


@pytest.mark.parametrize(
    ("given", "whole"),
    [(Text(), False), (JsonLines(), False), (Records(), False), (Parquet(), False), (Csv(), True), (Files(), True)],
    ids=repr,
)
def test_what_is_cut(given, whole):
    """Lines and typed records are cut at bytes; other formats are one piece for each file."""
    cut = plan_inputs([InputFiles(files([9 * MIB]), given)])
    assert len(cut.splits) == (1 if whole else 3)
    assert all(piece.whole is whole for split in cut.splits for piece in split.pieces)
    found = notes(cut.splits, 8, formats=[given])
    assert len(found) == whole
    assert not whole or f"1 input files are {type(given).__name__} files, which are not cut," in found[0]


def test_small_files_share_a_split_in_every_format():
    """A thousand images are not a thousand tasks."""
    assert len(plan_inputs([InputFiles(files([1000] * 200), Files())]).splits) == 1


def test_a_file_that_is_too_large_for_one_value_is_refused():
    """With Files() a file is one value, in memory."""
    with pytest.raises(InputError, match=r"/f1\.txt has .* a file is one value"):
        plan_inputs([InputFiles(files([5, FILE_BYTES + 1]), Files())])


@pytest.fixture
def two_files(tmp_path):
    (tmp_path / "c.txt").write_text("a\nb\n")
    (tmp_path / "u.csv").write_text("id\na\n")
    return {"clicks": (str(tmp_path / "c.txt"),), "users": (str(tmp_path / "u.csv"),)}


def test_a_plan_of_several_inputs(two_files, tmp_path):
    """The task options say how many map tasks each input has; all inputs are counted, and looked for by workers."""
    planned = plan(Request(TWO, two_files, str(tmp_path / "out")))
    assert planned.options.inputs == (1, 1)
    assert planned.spec.input_bytes == 9
    blob = planned.blobs[planned.spec.plan]
    assert [(split_at(blob, i).input, split_at(blob, i).pieces[0].path) for i in range(split_count(blob))] == [
        (0, two_files["clicks"][0]),
        (1, two_files["users"][0]),
    ]
    planned.discard()
    with pytest.raises(OutputError, match="lies in the output folder"):
        plan(Request(TWO, two_files, str(tmp_path)))


def test_a_plan_with_a_broadcast_input(two_files, tmp_path):
    """Its split comes behind those of the map tasks."""
    job = Job(inputs={"clicks": Input(pairs), "users": Input(pairs)}, reducer=Join("left", broadcast=True))
    planned = plan(Request(job, two_files, str(tmp_path / "out")))
    blob = planned.blobs[planned.spec.plan]
    assert (planned.options.inputs, planned.spec.steps[0].maps, planned.spec.steps[0].reduces) == ((1, 0), 1, 0)
    assert split_count(blob) == 2
    assert split_at(blob, 1).pieces[0].path == two_files["users"][0]


@pytest.mark.parametrize(
    ("partitioner", "asked", "reduces"),
    [
        (RangePartitioner([1, 2]), None, 3),
        (RangePartitioner([1, 2]), 3, 3),
        (RangePartitioner(), None, 5),
        (RangePartitioner(), 2, 2),
        (ListPartitioner({"a": 1}), None, 2),
        (ListPartitioner({"a": 1}), 4, 4),
    ],
    ids=repr,
)
def test_the_partitioner_says_how_many_reducers(partitioner, asked, reduces):
    """As many as it has parts, unless more were asked for and it can use them; where it says none, the default."""
    job = Job(steps=[Step(pairs, reducer=Count(), partitioner=partitioner), Step(reducer=Count())])
    assert [shape.reduces for shape in shapes_of(job, 7, asked, lambda _step: 5)] == [reduces, asked or 5]


@pytest.mark.parametrize(
    ("partitioner", "asked", "message"),
    [
        (RangePartitioner([1, 2]), 4, "makes 3 parts, so the step has 3 reducers and not 4"),
        (ListPartitioner({"a": 5}), 4, "names 6 parts, and 4 reducers make fewer"),
    ],
    ids=repr,
)
def test_a_number_of_reducers_that_does_not_fit_is_refused(partitioner, asked, message):
    """With what to do."""
    with pytest.raises(UsageError, match=message):
        shapes_of(Job(pairs, reducer=Count(), partitioner=partitioner), 1, asked)


def test_the_output_of_a_former_job(tmp_path):
    """Typed records are found by the manifest, in its order; an output in another format is refused with advice."""
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    result = mapreduce.run(ONE, tmp_path / "in.txt", runner="inline", reducers=3)
    names = [Path(file.path).name for file in find_inputs([result], Records())]
    assert names == ["part-00000", "part-00001", "part-00002"]
    (Path(result) / "part-00007").touch()
    assert len(find_inputs([result], Records())) == 3
    assert len(find_inputs([result])) == 4
    turned = Job(lambda key, value: [(value, key)], input=Records())
    again = mapreduce.run(turned, result, runner="inline")
    assert sorted(again) == [(1, "b"), (2, "a")]
    mapreduce.run(ONE, tmp_path / "in.txt", tmp_path / "out", runner="inline")
    with pytest.raises(InputError, match="in the format tsv, not typed records"):
        find_inputs([tmp_path / "out"], Records())


@pytest.mark.parametrize("where", ["folder", "store"])
@pytest.mark.usefixtures("memory")
def test_a_former_output_whose_format_nobody_has_said(where, tmp_path):
    """What is no text is refused, with the option that reads it; of records in lines a warning says how to get them."""
    (tmp_path / "in.txt").write_text("a\nb\na\n")

    def made(output_format):
        place = f"memory://b/{output_format}" if where == "store" else str(tmp_path / output_format)
        mapreduce.run(ONE, tmp_path / "in.txt", place, runner="inline", output_format=output_format)
        return place

    def warnings(job, given, **options):
        result = mapreduce.run(job, given, runner="inline", **options)
        return [warning for warning in result.warnings if "lines of text" in warning]

    for output_format in ("parquet", "msgpack.gz"):
        place = made(output_format)
        base = output_format.partition(".")[0]
        with pytest.raises(InputError) as refused:
            mapreduce.run(ONE, place, runner="inline")
        assert str(refused.value) == (
            f"{place} is the output of a job in {output_format}, and not text: say --input-format {base}"
        )
        assert len(mapreduce.run(Job(lambda key, value: [(1, 1)]), place, runner="inline", input_format=base)) == 2
    place = made("jsonl.zst")
    (told,) = warnings(ONE, place)
    assert told == (
        f"{place} is the output of a job in jsonl.zst, and was read as lines of text: say --input-format jsonl to have "
        "its records, or --input-format text if lines are meant"
    )
    assert warnings(ONE, f"{place}/part-*") == warnings(ONE, place)
    assert warnings(ONE, place, input_format="text") == []
    assert warnings(Job(pairs, input=Text()), place) == []
    assert warnings(ONE, made("tsv")) == []
    several = Job(inputs={"a": Input(pairs), "b": Input(pairs)}, reducer=Count())
    (named,) = warnings(several, {"a": place, "b": tmp_path / "in.txt"})
    assert "say --input-format a=jsonl to have its records, or --input-format a=text if" in named


def test_a_former_result_is_an_input(tmp_path):
    """It is read with its exact types whatever format the job names, and beside files under another name."""
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    result = mapreduce.run(ONE, tmp_path / "in.txt", runner="inline", reducers=3)
    typed = mapreduce.run(Job(lambda key, value: [(value, (key, b"x"))]), result, runner="inline")
    assert sorted(typed) == [(1, ("b", b"x")), (2, ("a", b"x"))]
    both = mapreduce.run(Job(lambda key, value: [(key, value)]), [result, typed], runner="inline")
    assert set(both) == {("a", 2), ("b", 1), (1, ("b", b"x")), (2, ("a", b"x"))}
    joined = Job(inputs={"counts": Input(), "lines": Input(pairs)}, reducer=Join())
    inputs = {"counts": result, "lines": tmp_path / "in.txt"}
    assert set(mapreduce.run(joined, inputs, runner="inline")) == {("a", (2, 1)), ("b", (1, 1))}


def test_a_result_that_is_no_input(tmp_path):
    """One in a folder is given by that; one that is temporary goes alone, and to a job that its program waits for."""
    (tmp_path / "in.txt").write_text("a\n")
    result = mapreduce.run(ONE, tmp_path / "in.txt", runner="inline")
    filed = mapreduce.run(ONE, tmp_path / "in.txt", tmp_path / "out", runner="inline")
    with pytest.raises(UsageError, match="lie in files: give its folder, which is its attribute output"):
        mapreduce.run(ONE, filed, runner="inline")
    with pytest.raises(UsageError, match="cannot be one input together with files"):
        mapreduce.run(ONE, [result, tmp_path / "in.txt"], runner="inline")
    with pytest.raises(UsageError, match="may be gone before a submitted job has read it"):
        mapreduce.submit(ONE, {"lines": result}, tmp_path / "there")
    with pytest.raises(UsageError, match="say which input of the job"):
        mapreduce.run(Job(inputs={"a": Input(pairs), "b": Input(pairs)}, reducer=Count()), result, runner="inline")


@pytest.mark.parametrize("name", ["key", "values", "ctx", "from"])
def test_names_that_a_reducer_could_not_have_as_parameters(name):
    """An input's name must be one of a reducer's parameters beside the key and the context."""
    with pytest.raises(JobDefinitionError, match=f"an input cannot be called '{name}', since a reducer's parameter"):
        Job(inputs={name: Input(pairs), "other": Input(pairs)}, reducer=Count())


@pytest.mark.parametrize("reducer", [Count(), Join(), None])
def test_frames_beside_inputs_are_for_a_reducer(reducer):
    """Where no reducer or combiner would take frames, frames= would do nothing: each input says it for itself."""
    with pytest.raises(JobDefinitionError, match=r"frames= is for a reducer function.*say frames=True in an Input"):
        Job(inputs={"a": Input(pairs), "b": Input(pairs)}, reducer=reducer, frames=True)


def test_describe_shows_inputs_and_formats():
    """A line for each input's format, and one for each mapper, with what it takes."""
    job = Job(
        inputs={
            "a": Input(pairs, batch_size=1000, format=JsonLines()),
            "b": Input(pairs, frames=True, format=Parquet(columns=("x", "y"))),
            "c": Input(format=Csv(header=False, separator=";")),
        },
        reducer=Count(),
    )
    text = describe_job(job).render()
    assert "takes (value) in lists of 1,000: for the input a, gives (key, value) pairs" in text
    assert "takes (frame): for the input b, gives frames with key and value" in text
    assert "input       a: JSON lines, utf-8 (strict)\ninput       b: Parquet, x, y\n" in text
    assert "input       c: CSV, no header, ';', utf-8 (strict)" in text
    assert "input       whole files, as bytes" in describe_job(Job(pairs, input=Files())).render()
    assert "whole files, as text" in describe_job(Job(pairs, input=Files(text=True))).render()
    assert "typed records of a former job" in describe_job(Job(pairs, input=Records())).render()
    assert "input       text lines, utf-8 (strict)" in describe_job(ONE).render()
