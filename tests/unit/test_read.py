"""`mapreduce.read`: what a job wrote is read back, by anyone, as records or as a frame, or not at all."""

import gc
import pickle

import polars as pl
import pytest

import mapreduce
from mapreduce import Count, Job, OutputError
from mapreduce.dataflow.columns import values
from mapreduce.output_formats import OUTPUT_FORMATS

LINES = ["to be or not", "to be", "é\tü"]


def shared(line, *, ctx):
    for word in line.split():
        ctx.outputs["long"].write(word, len(word)) if len(word) > 2 else None
        yield word, {"length": len(word), "upper": word.upper()}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return tmp_path / "text.txt"


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_every_format_is_read_back(output_format, text, tmp_path):
    """The records are those of the job, and of its named outputs, from the folder alone."""
    if output_format.startswith("text"):
        job = Job(records=lambda line: [line])
        mapreduce.run(job, text, tmp_path / "out", output_format=output_format, runner="inline")
        assert list(mapreduce.read(tmp_path / "out")) == [(None, line) for line in LINES]
        return
    job = Job(shared, outputs={"long": "jsonl"})
    mapreduce.run(job, text, tmp_path / "out", output_format=output_format, runner="inline")
    found = mapreduce.read(str(tmp_path / "out"))
    wanted = [(word, {"length": len(word), "upper": word.upper()}) for line in LINES for word in line.split()]
    assert list(found) == wanted
    assert list(found.outputs["long"]) == [("not", 3)]
    assert list(mapreduce.read(tmp_path / "out" / "long")) == [("not", 3)]
    frame = found.to_polars()
    assert frame.columns == ["key", "value"]
    assert frame["key"].to_list() == [word for word, _ in wanted]
    assert frame["value"].to_list() == [value for _, value in wanted]


def test_results_that_are_values_alone_have_no_keys(text, tmp_path):
    """Their keys are None, as records and in a frame."""
    for output_format in ("parquet", "arrow", "jsonl"):
        out = tmp_path / output_format
        mapreduce.run(Job(records=lambda line: [len(line)]), text, out, output_format=output_format, runner="inline")
        assert list(mapreduce.read(out)) == [(None, len(line)) for line in LINES]
        wanted = pl.DataFrame({"key": [None] * 3, "value": list(map(len, LINES))})
        assert mapreduce.read(out).to_polars().equals(wanted)


def test_a_frame_of_several_parts_is_one(text, tmp_path):
    """Parts of columns follow each other, also where one has no record."""
    job = Job(keys=str.split, reducer=Count(), reducers=5)
    for output_format in ("parquet", "arrow"):
        mapreduce.run(job, text, tmp_path / output_format, output_format=output_format, runner="inline")
        found = mapreduce.read(tmp_path / output_format)
        assert dict(found.to_polars().iter_rows()) == dict(found)


@pytest.mark.parametrize("output_format", ["tsv", "parquet", "csv.gz"])
def test_a_damaged_part_gives_no_record(output_format, text, tmp_path):
    """A byte that was changed is found before a record of its part is handed out."""
    out = tmp_path / "out"
    mapreduce.run(Job(keys=str.split, reducer=Count()), text, out, output_format=output_format, runner="inline")
    (part,) = out.glob("part-*")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    for read in (iter(mapreduce.read(out)).__next__, mapreduce.read(out).to_polars):
        with pytest.raises(OutputError, match=f"the part {part} is not what the job wrote"):
            read()


def test_a_folder_without_a_finished_output_is_refused(tmp_path):
    """At once, not when the records are wanted."""
    with pytest.raises(OutputError, match="holds no finished output"):
        mapreduce.read(tmp_path)


def test_nothing_is_unpickled(text, tmp_path, monkeypatch):
    """An output is data: reading it runs nobody's code."""
    mapreduce.run(Job(shared, outputs={"long": "jsonl"}), text, tmp_path / "out", runner="inline")

    def refuse(*_):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(values.pickle, "loads", refuse)
    assert len(list(mapreduce.read(tmp_path / "out"))) == 8
    gc.collect()
