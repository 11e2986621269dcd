"""A real model over real files: what it says of files of known kinds, and what the report makes of it."""

import subprocess
import sys
import sysconfig
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster import environment
from everywhere import bytes_of
from magika import MagikaResult, OverwriteReason
from mapreduce.demos import batch_inference
from pages import demo_of_readme, run_blocks
from PIL import Image

import mapreduce

SOURCES = 60
RULED = {"mean": None, "lowest": None}  # what the report says of files that the model is not asked about


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of known kinds: sources, images, a zip, an empty one, a letter, and noise that is nothing."""
    folder = tmp_path_factory.mktemp("files")
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path for path in sorted(library.glob("[a-r]*.py")) if path.stat().st_size > 4000][:SOURCES]
    for path in sources:
        (folder / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    Image.new("RGB", (64, 64), "blue").save(folder / "blue.gif")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.write(sources[0], "source.py")
    (folder / "nothing").touch()
    (folder / "letter").write_text("a")
    (folder / "noise").write_bytes(bytes((i * i * 7919 >> 5) & 255 for i in range(300)))
    return folder


def test_the_model_tells_files_of_known_kinds(files, cluster, tmp_path):
    """Kinds, counts, bytes and confidence; two task processes load the model once each; over tcp the same bytes."""
    options = {"split_size": "200KB", "reducers": 2}
    result = mapreduce.run("@batch_inference", files, tmp_path / "out", slots=2, **options)
    found = dict(result)
    sources = sorted(files.glob("*.py"))
    python = found["python"]
    assert python["files"] == len(sources) == SOURCES
    assert python["bytes"] == sum(path.stat().st_size for path in sources)
    assert 0.5 < python["lowest"] <= python["mean"] <= 1
    assert python["mean"] > 0.9
    assert len(python["examples"]) == batch_inference.EXAMPLES
    for kind, name in {"png": "red.png", "gif": "blue.gif", "zip": "archive.zip"}.items():
        assert found[kind]["examples"] == [str(files / name)]
        assert found[kind]["lowest"] > 0.9
    assert found["empty"] == {"files": 1, "bytes": 0, **RULED, "examples": [str(files / "nothing")]}
    assert found["txt"] == {"files": 1, "bytes": 1, **RULED, "examples": [str(files / "letter")]}
    assert found["unknown"]["examples"] == [str(files / "noise")]
    assert sum(report["files"] for report in found.values()) == len(list(files.iterdir()))
    assert 1 <= result.counters["models loaded"] <= 2 < result.status.steps[0].shape.maps
    mapreduce.run("@batch_inference", files, tmp_path / "tcp", coordinator=cluster.address, **options)
    assert bytes_of(tmp_path / "tcp") == bytes_of(tmp_path / "out")


def test_the_readmes_commands_show_the_kinds_by_number(files, tmp_path):
    """They run as they stand there, here over a small folder, and print what is shown: a kind, and four numbers."""
    (*_, (_, printed, shown)) = run_blocks(demo_of_readme("Batch inference"), tmp_path, LIB=str(files))
    first, *others = printed.splitlines()
    assert first.startswith(f'python\t{{"files":{SOURCES},"bytes":')
    assert {line.partition("\t")[0] for line in others} == {"empty", "gif", "png", "txt", "unknown", "zip"}
    names = [field.partition(":")[0] for field in first.split(",")]
    assert names == [field.partition(":")[0] for field in shown.splitlines()[0].split(",")]


def test_a_file_that_is_gone_is_in_the_report(tmp_path):
    """What the model cannot read is a kind of its own, by the reason."""
    ctx = SimpleNamespace(counters=Counter())
    path = str(tmp_path / "gone")
    (judged,) = batch_inference.judge([path], [b"12"], ctx=ctx)
    kind, judgement = judged
    assert kind == "(not judged: file_not_found_error)"
    assert list(batch_inference.report(kind, iter([judgement]))) == [
        (kind, {"files": 1, "bytes": 2, **RULED, "examples": [path]})
    ]


def test_files_that_the_model_is_not_sure_of_are_together(files):
    """Their kind is (unsure), and the report names the guess; a surer judgement is the kind itself."""
    (result,) = batch_inference.model().identify_paths([files / "red.png"])
    assert batch_inference.verdict(result)[::2] == ("png", "")
    guess = replace(result.prediction, score=0.25, overwrite_reason=OverwriteReason.LOW_CONFIDENCE)
    doubtful = MagikaResult(path=result.path, prediction=guess)
    assert batch_inference.verdict(doubtful) == ("(unsure)", 2500, " (png?)")


def test_confidence_is_of_the_files_that_the_model_judged():
    """A kind's mean and lowest leave out what a rule decided; the least sure files come first, then by path."""
    files = [(9000, 1, "c"), (batch_inference.RULE, 2, "a"), (5000, 4, "d"), (9000, 8, "b"), (9999, 16, "e")]
    expected = {"files": 5, "bytes": 31, "mean": 0.825, "lowest": 0.5, "examples": ["d", "b", "c"]}
    for order in (files, files[::-1]):
        assert dict(batch_inference.report("txt", iter(order))) == {"txt": expected}


def test_without_magika_the_job_says_what_to_install():
    """The message names the extra, before anything starts; the list of demos is not disturbed."""
    code = "import sys; sys.modules['magika'] = None; from mapreduce.cli import main; main()"
    said = {
        "@batch_inference": "pip install 'mapreduce-engine[demos]'",
        "@unknown": "@batch_inference, @feature_extraction",
    }
    for target, text in said.items():
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, "run", target, __file__],
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
        assert "Traceback" not in done.stderr
