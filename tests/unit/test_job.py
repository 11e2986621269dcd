"""Jobs and steps are checked when they are made; files, modules and demos are found, or refused with what to write."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapreduce.aggregators import Aggregator, Count, Max, Sum
from mapreduce.calls import Call
from mapreduce.errors import JobDefinitionError
from mapreduce.job import Job, Step, parse_size
from mapreduce.targets import demo_names, load_job


def mapper(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def reducer(key: str, values: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield key, sum(values)


def later(key: str, value: int) -> Iterator[tuple[str, int]]:
    yield key, value


class Unfinished(Aggregator[Any, Any, Any]):
    def create(self, value: Any) -> Any:
        return value


class Longest:
    def __call__(self, line: str) -> None:
        pass

    def finish(self) -> Iterator[tuple[str, int]]:
        yield "longest", 0


def test_a_job_of_one_step_is_resolved() -> None:
    """Functions become calls, an aggregator stays itself, and the kind of mapper is known."""
    job = Job(mapper, reducer=reducer, combiner=reducer)
    (plan,) = job.resolved
    assert plan.mapper_kind == "pairs"
    assert isinstance(plan.reducer, Call)
    assert [call.role for call in plan.calls] == ["mapper", "combiner", "reducer"]
    assert Job(keys=str.split, reducer=Count()).resolved[0].title == "str.split -> Count()"
    assert Job(records=str.split).resolved[0].reducer is None


def test_steps_follow_each_other() -> None:
    """Later steps take key and value, or pass records on."""
    job = Job(steps=[Step(mapper, reducer=Sum()), Step(reducer=Max()), Step(later)])
    assert [plan.mapper_kind for plan in job.resolved] == ["pairs", "identity", "pairs"]
    with pytest.raises(JobDefinitionError, match=r"def mapper\(key, value\)"):
        Job(steps=[Step(mapper), Step(mapper)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs a mapper"),
        ({"mapper": mapper, "keys": str.split}, "one of mapper, keys and records"),
        ({"mapper": mapper, "combiner": reducer}, "combiner without a reducer"),
        ({"mapper": mapper, "partitioner": lambda key, n: 0}, "partitioner without a reducer"),
        ({"records": str.split, "reducer": Count()}, "without keys"),
        ({"mapper": mapper, "reducer": Count}, r"write reducer=Count\(\)"),
        ({"mapper": mapper, "reducer": reducer, "combiner": Sum()}, "combines by itself"),
        ({"mapper": mapper, "reducer": Sum(), "combiner": reducer}, "leave the combiner out"),
        ({"keys": str.split, "reducer": Sum()}, r"use Count\(\)"),
        ({"mapper": mapper, "steps": [Step(mapper)]}, "not both"),
        ({"steps": []}, "1 to 100 steps"),
        ({"steps": Step(mapper)}, "must be a list"),
        ({"steps": [mapper]}, r"steps\[0\] must be a Step"),
        ({"mapper": mapper, "reducers": 0}, "reducers= must be a whole number"),
        ({"mapper": mapper, "reducers": True}, "reducers= must be a whole number"),
        ({"mapper": mapper, "split_size": "16 apples"}, "16MB"),
        ({"mapper": mapper, "seed": -1}, "seed="),
        ({"mapper": mapper, "encoding": "utf-99"}, "encoding="),
        ({"mapper": mapper, "encoding": "base64"}, "encoding="),
        ({"mapper": mapper, "encoding_errors": "ignore"}, "strict, replace, skip"),
        ({"mapper": mapper, "name": ""}, "name="),
        ({"mapper": Count()}, r"an aggregator is a reducer: reducer=Count\(\)"),
        ({"mapper": mapper, "reducer": [Count(), Max()]}, "several aggregators over one value are a dict"),
        ({"mapper": mapper, "reducer": reducer, "partitioner": {"a": 0}}, "write ListPartitioner"),
        ({"mapper": mapper, "reducer": reducer, "partitioner": ["f", "p"]}, "write RangePartitioner"),
        ({"mapper": mapper, "reducer": reducer, "sort_values": "time"}, r"lambda value: value\['time'\]"),
        ({"mapper": mapper, "reducer": Unfinished()}, "Unfinished has no merge and no finish"),
        ({"mapper": mapper, "reducer": {"n": Count(), "u": Unfinished()}}, "Unfinished has no merge and no finish"),
        ({"mapper": str.strip, "reducer": reducer, "frames": True}, r"with frames=True write `def reducer\(frame\)`"),
        ({"mapper": Longest()}, "finish.. nobody would call: give the class, mapper=Longest"),
        ({"inputs": {"a": mapper}}, r"such as Input\(mapper, format=Csv\(\)\)"),
        ({"mapper": mapper, "steps": [Step(mapper)]}, "move them into the Step"),
    ],
)
def test_senseless_jobs_are_refused(arguments: dict[str, Any], words: str) -> None:
    """The error says what to write, before anything starts."""
    with pytest.raises(JobDefinitionError, match=words):
        Job(**arguments)


def test_sizes_are_read_with_units() -> None:
    """Bytes as a number, or text with a unit of powers of 1024."""
    assert [parse_size(size) for size in (10, "10", "16MB", "1.5k", "2GiB", " 3 m ")] == [
        10,
        10,
        16 << 20,
        1536,
        2 << 30,
        3 << 20,
    ]
    assert Job(mapper, split_size="16MB").split_size == 16 << 20


def test_a_job_survives_pickling() -> None:
    """It travels as what was written, and is read again on the other side."""
    job = Job(mapper, reducer=reducer, name="lines", reducers=3, seed=5, encoding="latin-1")
    copy = pickle.loads(pickle.dumps(job))
    assert copy.resolved == job.resolved
    assert (copy.name, copy.reducers, copy.seed, copy.encoding) == ("lines", 3, 5, "iso8859-1")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a file of a user's project in a folder of its own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


FUNCTIONS = "def mapper(line):\n    yield line, 1\ndef reducer(key, values):\n    yield key, sum(values)\n"


def test_a_module_with_functions_is_a_job(write: Any) -> None:
    """mapper, reducer, combiner and partitioner by name; the job is called as the file."""
    write("lines.py", FUNCTIONS + "combiner = reducer\n")
    for target in ("lines.py", "lines", "./lines.py"):
        found = load_job(target)
        assert [call.role for call in found.job.resolved[0].calls] == ["mapper", "combiner", "reducer"]
        assert (found.name, found.attribute, found.module.__name__) == ("lines", "", "lines")


def test_a_module_level_job_is_found_by_name(write: Any) -> None:
    """`job` is the default; others are named after a colon."""
    job = "from mapreduce import Count, Job\njob = Job(keys=str.split, reducer=Count())\n"
    write("words.py", job + "other = Job(keys=str.split, reducer=Count(), name='second')\n")
    assert (load_job("words.py").name, load_job("words.py").attribute) == ("words", "job")
    assert (load_job("words.py:other").name, load_job("words.py:other").attribute) == ("second", "other")
    with pytest.raises(JobDefinitionError, match="has no 'third'; it has the jobs job, other"):
        load_job("words.py:third")


def test_a_stray_function_beside_a_job_is_an_error_that_names_it(write: Any) -> None:
    """What the job uses, directly or through a wrapper, is no stray."""
    head = "from functools import partial\nfrom mapreduce import Count, Job\n" + FUNCTIONS
    write("stray.py", head + "job = Job(mapper, reducer=Count())\n")
    with pytest.raises(JobDefinitionError, match=r"stray\.py has `job`, which does not use `reducer`"):
        load_job("stray.py")
    write("used.py", head + "job = Job(partial(mapper), reducer=lambda key, values: reducer(key, values))\n")
    assert load_job("used.py").name == "used"


def test_a_module_without_a_job_says_what_to_write(write: Any) -> None:
    """No mapper, functions of similar names, only a reducer, jobs under other names, a `job` that is none."""
    write("nothing.py", "x = 1\n")
    write("near.py", "def map(line):\n    yield line, 1\n")
    write("half.py", "def reducer(key, values):\n    yield key, 1\n")
    write("named.py", "from mapreduce import Job\nwc = Job(records=str.split)\n")
    write("wrong.py", "def job(line):\n    yield line, 1\n")
    for target, words in {
        "nothing.py": r"nothing\.py has no job: write `def mapper\(line\):`",
        "near.py": "it has `map`: is that the mapper",
        "half.py": "has reducer, and no mapper",
        "named.py": r"named\.py:wc",
        "wrong.py": "`job` in wrong.py is a function, not a Job",
    }.items():
        with pytest.raises(JobDefinitionError, match=words):
            load_job(target)


def test_a_file_in_packages_is_imported_under_its_dotted_name(write: Any) -> None:
    """Relative imports work, from any current folder."""
    write("proj/shop/__init__.py", "")
    write("proj/shop/text.py", "def words(line):\n    return line.split()\n")
    write("proj/shop/jobs/__init__.py", "")
    write("proj/shop/jobs/count.py", "from ..text import words\ndef mapper(line):\n    yield words(line)[0], 1\n")
    found = load_job("proj/shop/jobs/count.py")
    assert found.module.__name__ == "shop.jobs.count"
    assert found.root is not None
    assert found.root.name == "proj"


def test_siblings_of_a_file_are_imported_and_edits_are_seen(write: Any) -> None:
    """As with `python FILE`; a second load sees the file as it is then."""
    write("tools_of_job.py", "N = 1\n")
    write("uses.py", "from tools_of_job import N\ndef mapper(line, *, n: int = N):\n    yield line, n\n")
    assert load_job("uses.py").job.parameters[0].default == 1
    write("tools_of_job.py", "N = 12345\n")
    assert load_job("uses.py").job.parameters[0].default == 12345


def test_two_files_of_one_name_are_two_jobs(write: Any) -> None:
    """The second is not mistaken for the first, which another folder holds."""
    write("a/same.py", FUNCTIONS)
    write("b/same.py", FUNCTIONS)
    first, second = load_job("a/same.py"), load_job("b/same.py")
    assert first.module is not second.module
    assert "/b/" in str(second.module.__file__)


def test_names_that_are_taken_are_refused(write: Any) -> None:
    """json.py and mapreduce.py would take the place of modules that everything needs; workers.py is fine."""
    for name in ("json.py", "mapreduce.py", "polars.py"):
        write(name, FUNCTIONS)
        with pytest.raises(JobDefinitionError, match="rename it"):
            load_job(name)
        Path(name).unlink()
    write("workers.py", FUNCTIONS)
    held = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "workers"}
    try:
        assert load_job("workers.py").name == "workers"
    finally:
        sys.modules.pop("workers", None)
        sys.modules.update(held)


def test_a_job_that_fails_to_import_shows_the_users_line_first(write: Any) -> None:
    """NameError, SyntaxError, a missing import, sys.exit and a refused Job all begin with file and line."""
    cases = {
        "x = 1\ny = nowhere\n": ("line 2: NameError", "y = nowhere"),
        "def mapper(:\n": ("line 1: SyntaxError", "def mapper(:"),
        "import no_such_module_here\n": ("line 1: ModuleNotFoundError", "import no_such_module_here"),
        "import sys\nsys.exit(3)\n": ("line 2: SystemExit", "exit code 3"),
        "from mapreduce import Job\njob = Job()\n": ("line 2: a step needs", "job = Job()"),
    }
    for number, (text, words) in enumerate(cases.items()):
        path = write(f"broken{number}.py", text)
        with pytest.raises(JobDefinitionError) as caught:
            load_job(str(path))
        first, second = str(caught.value).split("\n")[:2]
        assert first.startswith(str(path))
        assert words[0] in first
        assert words[1] in f"{first}{second}"
        assert str(caught.value).count(words[1]) == 1 or "SyntaxError" not in first
        assert not str(caught.value).endswith("\n")


def test_targets_that_name_nothing_are_refused(write: Any) -> None:
    """No such file, folder, module or demo; each error says what there is or what to write."""
    write("there.py", FUNCTIONS)
    for target, words in {
        "not_there.py": r"not_there\.py does not exist",
        "./there": r"did you mean \./there\.py",
        "not_there": "no module 'not_there'",
        "pack.there": "no module 'pack.there'",
        "/tmp": "is a folder",
        "what ever": "names no job",
        "there.py:a b": "names no job",
        "@word_cuont": r"did you mean @word_count\? There are @",
        "@nonsense": r"no demo @nonsense: there are @",
    }.items():
        with pytest.raises(JobDefinitionError, match=words):
            load_job(target)


def test_demos_are_found_by_name() -> None:
    """@name is a module of the bundled demos."""
    assert "word_count" in demo_names()
    found = load_job("@word_count")
    assert (found.name, found.root, found.module.__name__) == ("word_count", None, "mapreduce.demos.word_count")
