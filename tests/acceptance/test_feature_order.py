"""Order: sorted over all parts, keys placed by a list, values sorted; with every runner and under kills."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from everywhere import run_everywhere

import mapreduce

MODULE = '''
"""Jobs over lines of a country, a user and a number."""

from everywhere import die_once

from mapreduce import Job, ListPartitioner, RangePartitioner, Step, Sum


def numbers(line, *, grave: str = ""):
    country, user, number = line.split()
    if number == "77":
        die_once(grave, "map")
    yield user, int(number)


def by_total(user, total, *, grave: str = ""):
    yield (-total, user), None


def ranked(key, _values, *, grave: str = ""):
    if key[1] == "u50":
        die_once(grave, "reduce")
    yield key[1], -key[0]


ranking = Job(
    steps=[Step(numbers, reducer=Sum()), Step(by_total, reducer=ranked, partitioner=RangePartitioner())],
    reducers=4,
    split_size="4KB",
)


def by_country(line):
    country, user, number = line.split()
    yield country, {"user": user, "number": int(number)}


def largest_first(record, *, sign: int = -1):
    return sign * record["number"], record["user"]


def listed(country, records, *, grave: str = ""):
    """The first three, what lies between, and the last."""
    if country == "fr":
        die_once(grave, "listed")
    first = [next(records)["number"] for _ in range(3)]
    *_, last = (record["number"] for record in records)
    yield country, [*first, last]


countries = Job(
    by_country,
    reducer=listed,
    partitioner=ListPartitioner({"de": 0, "at": 0, "fr": 2}, other=1),
    sort_values=largest_first,
    split_size="4KB",
)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The jobs' module and their input; gives the folder and the input's records."""
    folder = tmp_path_factory.mktemp("order")
    noise = random.Random(11)
    (folder / "ordered_jobs.py").write_text(MODULE, encoding="utf-8")
    records = [
        (noise.choice(["de", "at", "fr", "it", "es"]), f"u{noise.randrange(600)}", noise.randrange(1000))
        for _ in range(3000)
    ]
    records.append(("de", "u50", 77))
    (folder / "numbers.txt").write_text("".join(f"{c} {u} {n}\n" for c, u, n in records))
    return folder, records


def test_ranges_found_by_the_job_sort_the_output_over_all_parts(project, cluster, tmp_path):
    """The parts one after another are one sorted sequence, about equally cut, whatever dies on the way."""
    folder, records = project
    result = run_everywhere(
        f"{folder}/ordered_jobs.py:ranking",
        [str(folder / "numbers.txt")],
        tmp_path / "runs",
        cluster.address,
        kills=("map", "reduce"),
    )
    totals: Counter = Counter()
    for _, user, number in records:
        totals[user] += number
    assert list(result) == sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
    lines = [len(path.read_text().splitlines()) for path in sorted(result.output.glob("part-*"))]
    assert len(lines) == 4
    assert min(lines) > 0.8 * len(totals) / 4


def test_listed_keys_and_sorted_values(project, cluster, tmp_path):
    """Each key is in its listed part, and its values come in the order of a function with a parameter of the job."""
    folder, records = project
    result = run_everywhere(
        f"{folder}/ordered_jobs.py:countries",
        [str(folder / "numbers.txt")],
        tmp_path / "runs",
        cluster.address,
        kills=("listed",),
        params={"sign": -1},
    )
    wanted = {}
    for country in ("de", "at", "fr", "it", "es"):
        numbers = sorted((number for where, _, number in records if where == country), reverse=True)
        wanted[country] = [*numbers[:3], numbers[-1]]
    parts = [
        dict(line.split("\t") for line in path.read_text().splitlines())
        for path in sorted(result.output.glob("part-*"))
    ]
    assert [set(part) for part in parts] == [{"at", "de"}, {"it", "es"}, {"fr"}]
    assert dict(result) == wanted


def test_the_number_of_reducers_cannot_contradict_the_boundaries(project, tmp_path):
    """Before anything starts: another number of reducers than the boundaries make is refused, and nothing is left."""
    folder, _ = project
    job = mapreduce.Job(keys=str.split, reducer=mapreduce.Count(), partitioner=mapreduce.RangePartitioner(["d", "m"]))
    with pytest.raises(mapreduce.UsageError, match="makes 3 parts"):
        mapreduce.run(job, folder / "numbers.txt", tmp_path / "out", reducers=8)
    assert list(tmp_path.iterdir()) == []
