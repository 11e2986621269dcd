"""Memory is bounded by the engine's buffers: neither a key's values nor the size of the input raise it."""

import os

import pytest
from cluster import mapreduce
from memory import MB, PeakSampler, write_text
from reference import files_below

TASK_PROCESS_BYTES = 600 * MB  # what is promised of every task process
VALUES = 20_000_000
VALUES_PER_LINE = 250_000
ONE_KEY = """
from itertools import repeat

def mapper(line, *, count: int):
    return zip(repeat("the key"), range(int(line), int(line) + count))

def reducer(key, values):
    number = total = 0
    for value in values:
        number += 1
        total += value
    yield key, (number, total)
"""
TEXT_BYTES = 200 * MB
SPLIT = "32MB"  # what a job over 2 GB has


@pytest.fixture
def peaks():
    """Watch all processes that the test starts; afterwards none may have held more than was promised."""
    with PeakSampler(os.getpid()) as sampler:
        yield sampler.peaks
    large = sorted(((peak // MB, name) for name, peak in sampler.peaks.values()), reverse=True)
    assert large[1][0] > 100, f"two task processes should have been seen at work: {large}"
    assert all(peak < TASK_PROCESS_BYTES for _, peak in sampler.peaks.values()), f"peaks in MB: {large}"


def test_one_key_with_20_million_values(peaks, tmp_path):
    """A reducer goes through 20 million values of one key, and no process holds more than 600 MB."""
    (tmp_path / "one_key.py").write_text(ONE_KEY, encoding="utf-8")
    starts = "\n".join(map(str, range(0, VALUES, VALUES_PER_LINE)))
    (tmp_path / "in.txt").write_text(starts, encoding="utf-8")
    command = ["run", "one_key.py", "in.txt", "-p", f"count={VALUES_PER_LINE}", "--split-size", "50", "-j", "2"]
    done = mapreduce(*command, cwd=tmp_path, timeout=150)
    assert done.stdout == f"the key\t[{VALUES},{VALUES * (VALUES - 1) // 2}]\n"


def test_a_text_larger_than_all_buffers(peaks, tmp_path):
    """An inverted index of 200 MB in splits of 32 MB with 4 reducers: no process holds more than 600 MB."""
    texts = tmp_path / "texts"
    texts.mkdir()
    write_text(texts, TEXT_BYTES)
    output = tmp_path / "out"
    command = ["run", "@inverted_index", texts, "-o", output, "--reducers", "4", "--split-size", SPLIT, "-j", "2"]
    mapreduce(*command, timeout=200)
    uses = files = 0
    for part in sorted(output.glob("part-*")):
        for line in part.read_bytes().split(b"\n")[:-1]:
            uses += sum(int(item.rpartition(b",")[2]) for item in line.partition(b"\t")[2][2:-2].split(b"],["))
            files += line.startswith(b"only")
    assert uses == sum(
        path.read_bytes().count(b" ") + path.read_bytes().count(b"\n") + 1 for path in files_below(texts)
    )
    assert files == len(files_below(texts))
