"""Named outputs of one attempt: what is written through them is checked at once and lost by nobody's mistake."""

import errno
import os

import pytest

import mapreduce
from mapreduce import Job
from mapreduce.config import CONTROL_FRAME_BYTES
from mapreduce.coordinator import results
from mapreduce.dataflow.context import Context, Site
from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.dataflow.manifest.folder import Granted, commit_job, prepare_output, temporary_folder
from mapreduce.dataflow.outputs.column_types import NAME_CHARS
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_part_records
from mapreduce.dataflow.tasks import named_outputs
from mapreduce.dataflow.tasks.named_outputs import NamedOutputs
from mapreduce.errors import DiskFullError, JobDefinitionError, KeyTypeError, RecordError, UsageError, ValueTypeError
from mapreduce.job import NAMED_OUTPUTS
from mapreduce.plan import AttemptId, Done, PartInfo, TaskId, TaskKind, TaskOptions
from mapreduce.planner import plan
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Source
from mapreduce.request import Request

ATTEMPT = AttemptId(TaskId("job", 0, TaskKind.REDUCE, 3), 2)


@pytest.fixture
def options(tmp_path):
    made = TaskOptions(
        "job", str(tmp_path / "out"), outputs=(("bad", "records"), ("empty", "parquet"), ("text", "tsv"))
    )
    prepare_output(made.output, "job", False, ["bad", "empty", "text"])
    return made


@pytest.fixture
def outputs(options, tmp_path):
    made = NamedOutputs(ATTEMPT, options, Site(), tmp_path)
    yield made
    made.abort()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("_"))


def records_of(options, name, info, output_format="records"):
    path = temporary_folder(options.output, "job") / f"reduce-00003-2.{name}"
    return list(read_part_records(path, output_format, info.key_types, info.value_types))


def test_records_stay_in_order_as_they_were(outputs, options, monkeypatch):
    """What is written is kept as it was then, in order, over many chunks; each output has a part, also an empty one."""
    monkeypatch.setattr(named_outputs, "CHUNK_RECORDS", 3)
    growing = []
    for n in range(10):
        growing.append(n)
        outputs["bad"].write(n if n % 2 else (n, "x"), growing)
    done = outputs.close()
    assert records_of(options, "bad", done["bad"]) == [
        (n if n % 2 else (n, "x"), list(range(n + 1))) for n in range(10)
    ]
    assert {name: info.records for name, info in done.items()} == {"bad": 10, "empty": 0, "text": 0}
    outputs.abort()
    assert len(names_in(temporary_folder(options.output, "job"))) == 3


def test_many_bytes_make_a_chunk(outputs, monkeypatch):
    """Records are held up to some bytes, whatever their number: keys and values count."""
    written = []
    monkeypatch.setattr(PartWriter, "write_batch", lambda _self, batch: written.append(batch.rows()))
    monkeypatch.setattr(named_outputs, "CHUNK_BYTES", 1000)
    for _ in range(3):
        outputs["bad"].write("k" * 600, 1)
        outputs["bad"].write(1, b"v" * 600)
    assert written == [2, 2, 2]


def test_wrong_keys_and_values_are_refused_where_they_are_written(outputs):
    """The message names the output, the key and the type."""
    with pytest.raises(KeyTypeError, match=r"ctx.outputs\['bad'\] got the key \[1\] \(list\)"):
        outputs["bad"].write([1], 2)
    with pytest.raises(ValueTypeError, match=r"ctx.outputs\['bad'\] got a value under the key 'k'.*Site.*emit a tuple"):
        outputs["bad"].write("k", Site())
    with pytest.raises(RecordError, match=r"no named output 'worse': it has 'bad', 'empty', 'text'"):
        outputs["worse"]
    assert list(outputs) == ["bad", "empty", "text"]
    assert outputs.close()["bad"].records == 0


def test_what_the_format_cannot_say_fails_the_task(outputs, options):
    """The error comes when records are written out, and comes again if a user's function caught it."""
    outputs["text"].write("k", {1})
    with pytest.raises(ValueTypeError, match=r"ctx\.outputs\['text'\]: TSV output cannot write"):
        outputs.close()
    with pytest.raises(ValueTypeError, match="TSV output cannot write"):
        outputs["text"]._flush()
    outputs.abort()
    assert names_in(temporary_folder(options.output, "job")) == ["reduce-00003-2.bad", "reduce-00003-2.empty"]


def test_columns_of_several_types_name_their_output_and_leave_no_part(outputs, options):
    """Parquet finds out at the end; the part is gone then, and the message says which output it was of."""
    outputs["empty"].write("k", 1)
    outputs["empty"].write("k", "one")
    with pytest.raises(ValueTypeError, match=r"^ctx\.outputs\['empty'\]: Parquet output cannot write the values"):
        outputs.close()
    outputs.abort()
    assert "reduce-00003-2.empty" not in names_in(temporary_folder(options.output, "job"))


def test_a_full_disk_is_not_swallowed(outputs, monkeypatch):
    """A disk that is full while user code writes fails the attempt in the end, though user code catches all."""
    monkeypatch.setattr(named_outputs, "CHUNK_RECORDS", 1)
    site = outputs["bad"]._site

    def full(_self, _batch):
        raise DiskFullError("no space") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "write_batch", full)
        with pytest.raises(DiskFullError):
            outputs["bad"].write(1, 1)
    with pytest.raises(DiskFullError):
        outputs.close()
    assert site.function == "ctx.outputs['bad'].write"
    outputs.abort()


def test_after_the_end(outputs):
    """A context that was kept from one task to the next writes nothing, and says so."""
    kept = outputs["bad"]
    outputs.close()
    with pytest.raises(RecordError, match="after the end of its task"):
        kept.write(1, 1)


def test_an_attempt_that_fails_leaves_no_parts(outputs, options, tmp_path):
    """Aborting removes all; a job that has no such output says what to write."""
    outputs.abort()
    assert names_in(temporary_folder(options.output, "job")) == []
    with pytest.raises(RecordError, match=r'Job\(\.\.\., outputs=\{"bad": "jsonl"\}\)'):
        NamedOutputs(ATTEMPT, TaskOptions("job", options.output), Site(), tmp_path)["bad"]


def test_a_context_of_other_tasks_refuses():
    """Where no results are made there are no outputs, and the error says where there are."""
    context = Context(ATTEMPT)
    assert list(context.outputs) == []
    with pytest.raises(RecordError, match=r"ctx.outputs\['bad'\] cannot be written here, in reduce 3.*the last step"):
        context.outputs["bad"].write(1, 2)


def test_reading_an_output_as_input_leaves_named_ones_out(outputs, options, tmp_path):
    """A job's output as another's input means its results; a named output is read by its own folder."""
    outputs["bad"].write(1, 2)
    writer = PartWriter(temporary_folder(options.output, "job") / "reduce-00003-2")
    commit_job(options.output, options, [Granted(ATTEMPT, writer.close(), outputs.close())], {})
    out = tmp_path / "out"
    (out / "more").mkdir()
    (out / "more" / "part-00000").touch()
    assert [file.path for file in find_inputs([str(tmp_path)])] == [
        str(out / "more" / "part-00000"),
        str(out / "part-00003"),
    ]
    assert [file.path for file in find_inputs([str(out / "text")])] == [str(out / "text" / "part-00003")]


def test_results_with_many_outputs_fit_a_frame():
    """As many outputs as a job may have, of the longest names and types, are within what the coordinator reckons."""
    part = PartInfo(2**40, 2**50, "f" * 16, ("\U0001f600" * NAME_CHARS,), ("ü" * NAME_CHARS,))
    outputs = {f"{n:a>64}": part for n in range(NAMED_OUTPUTS)}
    source = Source(ATTEMPT, "worker", "tcp://worker", "/folder", Done(part=part, outputs=outputs))
    assert len(plain.pack(source)) <= results._length(source) < CONTROL_FRAME_BYTES


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ("jsonl", (("bad", "parquet"),))),
        ({"output_format": "tsv"}, ("tsv", (("bad", "parquet"),))),
        ({"output_format": "records"}, ("records", (("bad", "records"),))),
    ],
)
def test_formats_of_a_run(tmp_path, given, wanted):
    """The job's own, but for the results where the run says another; results in memory keep types in all outputs."""
    (tmp_path / "in").write_text("x\n")
    job = Job(keys=str.split, output="jsonl", outputs={"bad": "parquet"})
    planned = plan(Request(job=job, inputs=(str(tmp_path / "in"),), output=str(tmp_path / "out"), **given))
    assert (planned.options.output_format, planned.options.outputs) == wanted
    planned.discard()
    assert not (tmp_path / "out").exists()


def test_what_makes_no_sense_is_refused(tmp_path):
    """Formats that there are not, names that some disks take for one, a format of results that go to no folder."""
    (tmp_path / "in").write_text("x\n")
    job = Job(keys=str.split)
    with pytest.raises(
        JobDefinitionError, match=r"output_format= must be one of tsv, jsonl, .*as in jsonl.gz, not 'xml'"
    ):
        mapreduce.run(job, tmp_path / "in", tmp_path / "out", output_format="xml")
    with pytest.raises(JobDefinitionError, match="Bad, bad need names that differ in more than case"):
        Job(keys=str.split, outputs={"Bad": "tsv", "bad": "tsv"})
    with pytest.raises(UsageError, match="output_format= is for output="):
        mapreduce.run(job, tmp_path / "in", output_format="jsonl")
