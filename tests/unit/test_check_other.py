"""A trial in another process, as `mapreduce check` starts them: what is known of one that does not end."""

from __future__ import annotations

import contextlib

import pytest
from checked import bench_of, write_job, write_lines
from cluster import wait_for

from mapreduce.check.other import FATAL, TookTooLong, last_words, users_frames

SLEEPING = """
import time
from pathlib import Path


def mapper(line, *, where: str):
    Path(where).touch()
    time.sleep(600)
    yield line, 1
"""


def test_a_process_that_takes_too_long_tells_where_it_was(tmp_path):
    """It is stopped, and the error has the user's line that it was at."""
    path, inputs, seen = write_job(tmp_path, SLEEPING, name="sleeping"), write_lines(tmp_path), tmp_path / "seen"
    with (
        bench_of(tmp_path, path, inputs, params={"where": str(seen)}) as bench,
        contextlib.closing(bench.elsewhere(bench.plan(bench.sample(10)), 0)) as process,
    ):
        wait_for(seen.exists, "the mapper at work")
        with pytest.raises(TookTooLong) as stopped:
            process.wait(0.01)
    assert stopped.value.code == ("sleeping.py:8: time.sleep(600)",)


def test_last_words_are_the_users():
    """Of a stack the frames of the engine and of libraries are left out; what is no stack is kept as it is."""
    dump = f"""{FATAL}: Aborted

Current thread 0x1 (most recent call first):
  File "/home/ann/job.py", line 4 in helper
  File "/home/ann/job.py", line 9 in mapper
  File "{contextlib.__file__}", line 3 in inner
"""
    assert users_frames(dump)[0] == ('  File "/home/ann/job.py", line 4 in helper', "/home/ann/job.py", 4)
    assert last_words("noise\n" + dump).split("\n") == [
        f"{FATAL}: Aborted",
        '  File "/home/ann/job.py", line 4 in helper',
        '  File "/home/ann/job.py", line 9 in mapper',
    ]
    assert last_words(" gone \n") == "gone"
    assert users_frames("gone") == []
