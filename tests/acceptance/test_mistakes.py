"""Mistakes that give wrong numbers elsewhere are errors here, and each says what to write instead."""

import pytest
from cluster import mapreduce

LINES = "to be or\nnot to be\n"

MISTAKES = {
    "a pair returned instead of pairs": (
        "def mapper(line):\n    return ('ab', 'cd')\n",
        ["mapper", "tuple", "return [(key, value)]"],
    ),
    "the line returned": ("def mapper(line):\n    return line\n", ["mapper", "str"]),
    "bytes returned": ("def mapper(line):\n    return line.encode()\n", ["mapper", "bytes"]),
    "a dict returned": ("def mapper(line):\n    return {'a': 1}\n", ["mapper", "dict", ".items()"]),
    "strings of two characters instead of pairs": (
        "def mapper(line):\n    yield from line.split()\n",
        ["mapper", "'to'", "yield key, value"],
    ),
    "a list instead of a pair": ("def mapper(line):\n    yield ['a', 1]\n", ["mapper", "list", "yield key, value"]),
    "three instead of two": ("def mapper(line):\n    yield 'a', 1, 2\n", ["mapper", "3", "yield key, value"]),
    "a positional default": (
        "def mapper(line, size=3):\n    yield line, 1\n",
        ["mapper", "size", "keyword-only", "*, size"],
    ),
    "values gone through twice": (
        (
            "def mapper(line):\n    yield 'k', 1\n\ndef reducer(key, values):\n"
            "    total = sum(values)\n    yield key, [v / total for v in values]\n"
        ),
        ["reducer", "list(values)"],
    ),
    "a combiner that changes its key": (
        (
            "def mapper(line):\n    yield 'k', 1\n\ndef reducer(key, values):\n    yield key, sum(values)\n\n"
            "def combiner(key, values):\n    yield key + '!', sum(values)\n"
        ),
        ["combiner", "'k'", "'k!'"],
    ),
    "a key of another type": (
        "def mapper(line):\n    yield [line], 1\n\ndef reducer(key, values):\n    yield key, 1\n",
        ["mapper", "list", "key"],
    ),
    "an enum as a key": (
        (
            "import enum\nclass Colour(enum.IntEnum):\n    RED = 1\ndef mapper(line):\n    yield Colour.RED, 1\n\n"
            "def reducer(key, values):\n    yield key, 1\n"
        ),
        ["Colour", "key"],
    ),
    "keys= with a function that returns a str": (
        "from mapreduce import Count, Job\njob = Job(keys=str.strip, reducer=Count())\n",
        ["str", "list"],
    ),
    "a stray function beside job": (
        (
            "from mapreduce import Count, Job\njob = Job(keys=str.split, reducer=Count())\n"
            "def combiner(key, values):\n    yield key, 1\n"
        ),
        ["combiner", "job"],
    ),
    "no mapper": ("def map(line):\n    yield line, 1\n", ["mapper", "def mapper(line)"]),
    "a reducer of three": (
        "def mapper(line):\n    yield line, 1\ndef reducer(a, b, c):\n    yield a, 1\n",
        ["reducer", "key, values"],
    ),
    "an async mapper": ("async def mapper(line):\n    return [(line, 1)]\n", ["mapper", "async"]),
    "a syntax error": ("def mapper(line)\n    yield line, 1\n", ["job.py", "line 1"]),
}


@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_an_error_that_says_what_to_write(mistake, runner, tmp_path):
    """A job with a usual mistake fails with a message that names the function and the fix; no output is left."""
    source, words = MISTAKES[mistake]
    (tmp_path / "job.py").write_text(source, encoding="utf-8")
    (tmp_path / "in.txt").write_text(LINES, encoding="utf-8")
    done = mapreduce("run", "job.py", "in.txt", "-o", "out", "-r", runner, cwd=tmp_path, check=False)
    assert done.returncode in {1, 2}
    for word in words:
        assert word in done.stderr, f"{word!r} is not in:\n{done.stderr}"
    assert "mapreduce/dataflow" not in done.stderr, "engine frames are folded"
    assert not (tmp_path / "out").exists()
    assert done.stdout == ""
