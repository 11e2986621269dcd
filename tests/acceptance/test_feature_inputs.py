"""Several inputs in all formats, batches and frames, against plain Python: with every runner, and under kills."""

import gzip
import json
from itertools import accumulate, chain
from pathlib import Path

import polars as pl
import pytest
from cluster import mapreduce as command
from everywhere import run_everywhere

import mapreduce
from mapreduce import Csv, Input, Job, JobFailed, Sum

JOB = '''
from pathlib import PurePath

import polars as pl
from everywhere import die_once
from mapreduce import *


def lines(values, *, ctx, grave: str = ""):
    """Batches of lines: they cross files, and know where their first line is."""
    die_once(grave, "lines")
    yield "lines", (PurePath(ctx.path).name, ctx.offset, tuple(values))


def table(offset, row, *, ctx):
    ctx.counters["rows"] += 1
    yield row["city"], ("table", offset, int(row["n"]), row["note"])


def bare(frame, *, grave: str = ""):
    die_once(grave, "bare")
    yield frame.select(key="column_1", value=pl.col("column_2").cast(pl.Int64))


def cities(document):
    return [document["city"]] if document["city"] else []


def rows(frame):
    return frame.select(key="city", value=pl.struct("n", "city"))


def files(paths, texts):
    for path, text in zip(paths, texts):
        yield "files", (len(paths), PurePath(path).name, text)


def gather(key, values):
    yield key, list(values)


class later:
    """Batches of the pairs of the step before; what is left over comes at the end."""

    def __init__(self, *, grave: str = ""):
        self.grave = grave
        self.batches = []

    def __call__(self, keys, values):
        die_once(self.grave, "later")
        self.batches.append(len(keys))
        for key, several in zip(keys, values):
            yield key, len(several)

    def finish(self):
        yield "batches", sum(self.batches) * 100 + len(self.batches)


def doubled(frame):
    return frame.with_columns(value=pl.col("value") * 2)


inputs = {
    "lines": Input(lines, batch_size=7),
    "table": Input(table, format=Csv()),
    "bare": Input(bare, format=Csv(header=False, separator=";"), frames=True),
    "documents": Input(keys=cities, format=JsonLines()),
    "rows": Input(rows, format=Parquet(columns=("city", "n")), frames=True),
    "files": Input(files, format=Files(text=True), batch_size=2),
    "former": Input(format=Records()),
}
gathered = Job(inputs=inputs, reducer=gather, reducers=1, output="jsonl")
counted = Job(
    steps=[Step(inputs=inputs, reducer=gather), Step(later, batch_size=3), Step(doubled, frames=True)], reducers=1
)
'''
CITIES = ["Rome", "Zürich", "Oslo", 'Frankfurt "am"\nMain']


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The module of the jobs, its inputs by their names, and for each key the values in the order that they come in."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "many_inputs.py").write_text(JOB, encoding="utf-8")
    wanted = {}

    def expect(key, value):
        wanted.setdefault(key, []).append(value)

    texts = {"a.txt": [f"line {i}" for i in range(40)], "b.txt.gz": [f"packed {i}" for i in range(25)]}
    (folder / "a.txt").write_text("".join(f"{line}\n" for line in texts["a.txt"]))
    with gzip.open(folder / "b.txt.gz", "wt") as file:
        file.writelines(f"{line}\n" for line in texts["b.txt.gz"])
    places = [(name, sum(len(x) + 1 for x in texts[name][:i])) for name in texts for i in range(len(texts[name]))]
    placed = list(zip(places, chain.from_iterable(texts.values()), strict=True))
    for batch in (placed[i : i + 7] for i in range(0, len(placed), 7)):
        expect("lines", [*batch[0][0], [line for _, line in batch]])
    for part in ("one", "two"):
        rows = [(CITIES[i % 4], i, f"{part}, {i}\r\n") for i in range(100)]
        quoted = ((city.replace('"', '""'), i, note) for city, i, note in rows)
        records = [f'"{city}",{i},"{note}"\n'.encode() for city, i, note in quoted]
        (folder / f"{part}.csv").write_bytes(b"".join([b"city,n,note\n", *records]))
        starts = accumulate(map(len, records), initial=len(b"city,n,note\n"))
        for start, (city, i, note) in zip(starts, rows, strict=False):
            expect(city, ["table", start, i, note])
    (folder / "bare.csv").write_text("".join(f"Rome;{i}\n" for i in range(50)))
    for i in range(50):
        expect("Rome", i)
    documents = [{"city": CITIES[i % 3] if i % 5 else None, "i": i} for i in range(300)]
    (folder / "documents.jsonl").write_text("\n\n".join(map(json.dumps, documents)), encoding="utf-8")
    for document in documents:
        if document["city"]:
            expect(document["city"], None)
    table = pl.DataFrame({"n": [*range(9), None], "city": [CITIES[i % 2] for i in range(10)], "other": [1.5] * 10})
    table.write_parquet(folder / "rows.parquet", row_group_size=3)
    for n, city in zip(table["n"], table["city"], strict=True):
        expect(city, {"n": n, "city": city})
    (folder / "files").mkdir()
    for i in range(3):
        (folder / "files" / f"{i}.txt").write_bytes(b"whole\r\n" * i)
        expect("files", [2 if i < 2 else 1, f"{i}.txt", "whole\r\n" * i])
    former = mapreduce.run(
        Job(lambda line: [(line, 1)], reducer=Sum()), folder / "a.txt", runner="inline", reducers=3, split_size=100
    )
    for line in texts["a.txt"]:
        expect(line, 1)
    inputs = {
        "former": former,
        "files": folder / "files",
        "rows": [folder / "rows.parquet"],
        "documents": folder / "*.jsonl",
        "bare": folder / "bare.csv",
        "table": [folder / "one.csv", folder / "two.csv"],
        "lines": [folder / "a.txt", folder / "b.txt.gz"],
    }
    yield folder / "many_inputs.py", inputs, wanted
    del former  # its folder lives as long


def test_inputs_of_all_formats_meet_by_key(case, cluster, tmp_path):
    """Each record comes once, in the order of the inputs and their files, as its mapper was promised it."""
    module, inputs, wanted = case
    result = run_everywhere(f"{module}:gathered", inputs, tmp_path / "x", cluster.address, kills=["lines", "bare"])
    lines = (result.output / "part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    assert {row["key"]: row["value"] for row in map(json.loads, lines)} == wanted
    assert len(lines) == len(wanted)
    assert result.counters == {"rows": 200}


def test_batches_and_frames_of_later_steps(case, cluster, tmp_path):
    """A step's batches are of its task's pairs in their order; frames have the columns key and value."""
    module, inputs, wanted = case
    result = run_everywhere(
        f"{module}:counted", inputs, tmp_path / "x", cluster.address, kills=["lines", "bare", "later"]
    )
    counts = [(key, 2 * len(wanted[key])) for key in sorted(wanted)]
    total = 2 * (100 * len(wanted) + -(-len(wanted) // 3))
    assert list(result) == [*counts, ("batches", total)]


def test_the_command_line_takes_a_name_before_each_path(tmp_path):
    """Globs, several paths for a name, and standard input; what does not fit ends with code 2 and the names."""
    (tmp_path / "job.py").write_text(
        "from mapreduce import *\n"
        "def first(line):\n    yield line, 'click'\n"
        "def second(row):\n    yield row['id'], 'user'\n"
        "def both(key, clicks, users):\n    yield key, (len(list(clicks)), len(list(users)))\n"
        "job = Job(inputs={'clicks': Input(first), 'users': Input(second, format=Csv())}, reducer=both)\n"
    )
    (tmp_path / "1.log").write_text("a\nb\n")
    (tmp_path / "2.log").write_text("a\n")
    (tmp_path / "3.txt").write_text("c\n")

    def run(*arguments):
        return command("run", "job.py", *arguments, "-r", "inline", cwd=tmp_path, stdin="id\nb\nc\n", check=False)

    done = run("clicks=*.log", "users=-", "clicks=3.txt")
    assert done.stdout == "a\t[2,0]\nb\t[1,1]\nc\t[1,1]\n", done.stderr
    refused = run("clicks=1.log", "2.log")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "its inputs are clicks, users: write clicks=PATH users=PATH" in refused.stderr


def test_a_failure_names_what_a_mapper_was_at_work_on(tmp_path):
    """The record of a batch, or the shape of a frame; and a record that is none, with its file and place."""
    path = Path(tmp_path / "in.csv")
    path.write_text("a,b\n1,2\n3,4\n5\n")

    def failing(values):
        raise ValueError(len(values))

    with pytest.raises(JobFailed, match="has 1 fields, and") as caught:
        mapreduce.run(Job(failing, input=Csv(), batch_size=5), path, runner="inline")
    assert (caught.value.failure.path, caught.value.failure.offset) == (str(path), 12)
    path.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(JobFailed) as caught:
        mapreduce.run(Job(inputs={"t": Input(failing, format=Csv(), batch_size=5)}), {"t": path}, runner="inline")
    assert (caught.value.failure.offset, caught.value.record) == (4, "{'a': '1', 'b': '2'}, in a batch of 2")
    with pytest.raises(JobFailed) as caught:
        mapreduce.run(Job(failing, input=Csv(), frames=True), path, runner="inline")
    assert caught.value.record == "a frame of 2 rows, with the columns a, b"
