"""The probe: what a worker must see."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.inputs.find import InputFile, find_inputs
from mapreduce.dataflow.inputs.probe import PROBE_FILES, check_probe, make_probe, sample
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.errors import InputError, OutputError
from mapreduce.plan import Probe
from mapreduce.protocol import plain


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def made(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_text(name * 10)
    prepare_output(tmp_path / "out", "j1", False)
    return tmp_path, make_probe(find_inputs([str(tmp_path / "in")]), tmp_path / "out", "j1")


def test_the_same_machine_passes(made):
    """Who made the probe passes it, any number of times, also after it crossed a wire, and it leaves no files."""
    folder, probe = made
    before = names_in(folder / "out" / "_tmp-j1")
    for _ in range(3):
        check_probe(plain.unpack(Probe, plain.pack(probe)))
    assert names_in(folder / "out" / "_tmp-j1") == before
    assert [Path(file.path).name for file in probe.files] == ["a", "b", "c"]


def test_without_an_output(made):
    """A probe without a token looks at inputs only."""
    check_probe(replace(made[1], token_path="", token=""))


@pytest.mark.parametrize("change", ["gone", "longer", "touched"])
def test_input_differs(made, change):
    """An input that is missing or differs is an InputError that names it and says what inputs must be."""
    folder, probe = made
    path = folder / "in" / "b"
    if change == "gone":
        path.unlink()
    elif change == "longer":
        path.write_text("b" * 11)
    else:
        os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=r"in/b.*(not seen|11 bytes|modification time).*same path"):
        check_probe(probe)


@pytest.mark.parametrize("change", ["gone", "another", "binary", "read-only"])
def test_output_differs(made, change):
    """An output folder that is not the client's, or cannot be written, is an OutputError that names it."""
    folder, probe = made
    token = folder / "out" / "_tmp-j1" / "_probe"
    if change == "gone":
        shutil.rmtree(folder / "out")
    elif change == "another":
        token.write_text("another")
    elif change == "binary":
        token.write_bytes(b"\xff")
    else:
        token.parent.rename(folder / "real")
        token.parent.symlink_to("/proc/self/fdinfo")  # no file can be made there, by root neither
        probe = replace(probe, token_path=str(token.parent / "0"), token=Path("/proc/self/fdinfo/0").read_text())
    with pytest.raises(OutputError, match=r"out"):
        check_probe(probe)


def test_token_cannot_be_written(tmp_path):
    """A probe for an output folder that was not prepared is an OutputError."""
    with pytest.raises(OutputError, match="cannot be written"):
        make_probe([], tmp_path / "nowhere", "j1")


@given(count=st.integers(0, 1000))
def test_sample(count):
    """The sample is bounded, in order, without repeats, and has the first file and the last."""
    files = [InputFile(str(i), i, i) for i in range(count)]
    chosen = sample(files)
    assert len(chosen) == min(count, PROBE_FILES)
    assert [file.size for file in chosen] == sorted({file.size for file in chosen})
    if files:
        assert (chosen[0], chosen[-1]) == (files[0], files[-1])
