"""Steps with and without mappers and reducers, counters of steps before, classes, parameters, warnings: everywhere."""

import math
from collections import Counter, defaultdict

import pytest
from cluster import wait_for
from everywhere import run_everywhere

MODULE = '''
"""Words -> by their number of documents, in five steps of every kind."""

import functools

from everywhere import die_once

from mapreduce import Count, Job, Step


@functools.cache
def stop_words():
    return frozenset(["the", "a"])


class Words:
    """One object for each task, so that a document is counted once in a task."""

    def __init__(self, *, min_length: int = 1, ctx):
        self.min_length, self.ctx, self.seen = min_length, ctx, set()

    def __call__(self, offset, line, *, ctx, grave: str = ""):
        if offset == 0:
            ctx.counters["documents"] += 1
        if "lazy" in line:
            ctx.warn("there is a lazy line")
            die_once(grave, "mapper")
        for word in line.split():
            if len(word) >= self.min_length and word not in stop_words():
                self.seen.add((word, ctx.path))

    def finish(self, *, ctx):
        ctx.counters["splits"] += 1
        for pair in sorted(self.seen):
            yield pair, None


def once(pair, nothing, *, grave: str = ""):
    """Whatever the splits were, a word is in a document once."""
    if pair[0] == "dog":
        die_once(grave, "first reducer")
    yield pair, len(list(nothing)) and 1


def word_of(pair, one):
    yield pair[0], one


def upper(word, number):
    """A map-only step."""
    yield word.upper(), number


def weigh(word, numbers, *, ctx, grave: str = ""):
    """Reads the counters of all steps before."""
    if word == "DOG":
        die_once(grave, "last reducer")
    documents = ctx.previous.counters["documents"]
    assert documents == ctx.previous.steps[0]["documents"]
    ctx.counters["words"] += 1
    yield word, (sum(numbers), documents)


job = Job(
    steps=[
        Step(Words, reducer=once),
        Step(word_of, reducer=Count()),
        Step(upper),
        Step(reducer=weigh),  # no mapper: identity
        Step(lambda word, pair: [(word, list(pair))]),
    ],
    reducers=3,
    split_size=200,
)
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "steps.py"
    path.write_text(MODULE)
    return path


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    texts = ["the quick dog\njumps over a lazy cat\n" * 20, "a dog is a dog\n" * 30, "cats and dogs\n", "lazy\n" * 100]
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return folder


def test_steps_of_every_kind(module, documents, cluster, tmp_path):
    """Five steps give what plain Python gives, with every runner and with a death in each; nothing else is written."""
    words = defaultdict(set)
    for path in documents.iterdir():
        for word in path.read_text().split():
            if len(word) >= 3 and word != "the":
                words[word.upper()].add(path.name)
    expected = {word: [len(names), 4] for word, names in words.items()}
    kills = ("mapper", "first reducer", "last reducer")
    params = {"min_length": 3}
    result = run_everywhere(str(module), str(documents), tmp_path / "x", cluster.address, kills=kills, params=params)
    assert dict(result) == expected
    splits = sum(math.ceil(path.stat().st_size / 200) for path in documents.iterdir())
    assert result.counters["documents"] == 4
    assert result.counters["words"] == len(expected)
    assert 4 <= result.counters["splits"] <= splits
    assert [text for text in result.warnings if "lazy" in text] == ["there is a lazy line"]
    names = Counter(path.name for path in result.output.iterdir())
    assert set(names) == {"part-00000", "part-00001", "part-00002", "_SUCCESS", "_job.json"}
    assert result.id.startswith("steps-")
    assert list((cluster.folder / "scratch").iterdir()), "the workers' scratch folders"
    left = (cluster.folder / "scratch").rglob
    wait_for(lambda: not [path for path in left("*") if "/steps-" in str(path)], "intermediate data is gone")
