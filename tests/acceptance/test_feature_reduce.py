"""Several inputs met by key, joins and frames, with every runner and under kills, against plain Python."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict

import pytest
from everywhere import run_everywhere

import mapreduce

MODULE = '''
"""Jobs over visits (text) and users (CSV)."""

import polars as pl
from everywhere import die_once

from mapreduce import Csv, Input, Job, Join, Step, Sum


def visits(line):
    user, page, seconds = line.split("\\t")
    yield user, (page, int(seconds))


def users(row, *, ctx):
    ctx.counters["users"] += 1
    yield row["user"], {"name": row["name"], "country": row["country"]}


def report(user, people, seen, *, grave: str = ""):
    """Cogrouped, by the inputs' names in an order of its own; what is left of `seen` is skipped."""
    if user == "u7":
        die_once(grave, "report")
    names = [person["name"] for person in people]
    longest = next(seen, None)
    yield user, (names, longest, sum(1 for _ in seen) if user != "u3" else -1)


SOURCES = {"seen": Input(visits), "people": Input(users, format=Csv())}

cogrouped = Job(inputs=SOURCES, reducer=report, reducers=3, split_size="4KB")
ordered = Job(inputs={"seen": Input(visits)}, reducer=lambda user, visits: [(user, list(visits))], sort_values=True)


def sides(user, seen, people):
    yield user, [list(seen), [person["name"] for person in people]]


both_ordered = Job(
    inputs=SOURCES, reducer=sides, sort_values=lambda value: value[1] if type(value) is tuple else value["name"]
)

SIDES = ("inner", "left", "right", "outer", "semi", "anti")
joins = {how: Job(inputs=SOURCES, reducer=Join(how), reducers=2, split_size="4KB") for how in SIDES}
inner, left, right, outer, semi, anti = joins.values()


def dying_users(row, *, ctx, grave: str = ""):
    die_once(grave, "users")
    yield from users(row, ctx=ctx)


def dying_visits(line, *, grave: str = ""):
    if line.startswith("u9\\t"):
        die_once(grave, "visits")
    yield from visits(line)


def by_country(user, both):
    seen, person = both
    yield person["country"] if person else "nowhere", seen[1]


small = {"seen": Input(dying_visits), "people": Input(dying_users, format=Csv())}
broadcast = Job(inputs=small, reducer=Join("left", broadcast=True), split_size="4KB")
countries = Job(
    steps=[Step(inputs=small, reducer=Join("left", broadcast=True)), Step(by_country, reducer=Sum())], reducers=2
)


def seconds_of(frame):
    parts = pl.col("value").str.split("\\t").list
    return frame.select(key=parts.get(0), value=parts.get(2).cast(pl.Int64))


def country_of(frame):
    return frame.select(key="user", value="country")


def summed(frame, *, ctx):
    ctx.counters["combined"] += frame.height
    return frame.group_by("key").agg(pl.col("value").sum()) if frame["value"].dtype == pl.Int64 else frame


def per_user(seen, people, *, grave: str = ""):
    if "u7" in seen["key"]:
        die_once(grave, "per_user")
    total = seen.group_by("key").agg(seconds=pl.col("value").sum())
    joined = total.join(people, on="key", how="full", coalesce=True)
    yield joined.select("key", value=pl.struct("seconds", country="value"))


frames = Job(
    inputs={"seen": Input(seconds_of, frames=True), "people": Input(country_of, format=Csv(), frames=True)},
    combiner=summed,
    reducer=per_user,
    frames=True,
    reducers=2,
    split_size="4KB",
)


def bad(frame):
    return frame.with_columns(extra=1)


bad_frames = Job(seconds_of, reducer=bad, frames=True)
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The module, and its inputs: visits of many users, a few of whom are known, one more often than once."""
    folder = tmp_path_factory.mktemp("joins")
    (folder / "sources.py").write_text(MODULE, encoding="utf-8")
    chance = random.Random(3)
    names = [f"u{n}" for n in range(30)]
    visits = [(chance.choice(names[:20]), f"/{n}", chance.randrange(100)) for n in range(1500)]
    for number in range(2):
        lines = ["\t".join(map(str, visit)) + "\n" for visit in visits[number::2]]
        (folder / f"visits-{number}.tsv").write_text("".join(lines), encoding="utf-8")
    people = [(user, f"name, {user}", chance.choice(["de", "fr"])) for user in [*names[10:], "u15"]]
    with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "name", "country"), *people])
    return folder, visits[::2] + visits[1::2], people


def inputs_of(folder):
    """The inputs by name."""
    return {"seen": [f"{folder}/visits-0.tsv", f"{folder}/visits-1.tsv"], "people": f"{folder}/users.csv"}


def by_user(data):
    """The visits and the people of each user: (page, seconds) and dicts."""
    _, visits, people = data
    found = defaultdict(lambda: ([], []))
    for user, page, seconds in visits:
        found[user][0].append((page, seconds))
    for user, name, country in people:
        found[user][1].append({"name": name, "country": country})
    return dict(sorted(found.items()))


def records(result):
    """What is in all parts, as JSON says it, by key; a column of several types is read back as the text of its part."""
    return as_json((key, json.loads(value) if isinstance(value, str) else value) for key, value in result)


def as_json(pairs):
    """Pairs as they are read back from the output."""
    return sorted((key, json.loads(json.dumps(value))) for key, value in pairs)


def joined(how, data):
    """A join by its definition."""
    for user, (seen, people) in by_user(data).items():
        if how in {"semi", "anti"}:
            yield from ((user, one) for one in seen if bool(people) == (how == "semi"))
        elif seen and people:
            yield from ((user, (one, person)) for one in seen for person in people)
        else:
            yield from ((user, (one, None)) for one in seen if how in {"left", "outer"})
            yield from ((user, (None, person)) for person in people if how in {"right", "outer"})


def test_a_reducer_takes_the_values_of_each_input_by_name(data, tmp_path, cluster):
    """Each key comes once, with the values of both inputs in their order; counters of both mappers are added up."""
    folder = data[0]
    result = run_everywhere(
        f"{folder}/sources.py:cogrouped", inputs_of(folder), tmp_path / "x", cluster.address, kills=["report"]
    )
    wanted = []
    for user, (seen, people) in by_user(data).items():
        left = -1 if user == "u3" else max(len(seen) - 1, 0)
        wanted.append((user, ([person["name"] for person in people], seen[0] if seen else None, left)))
    assert records(result) == as_json(wanted)
    assert result.counters == {"users": len(data[2])}


def test_an_outer_join_streams_both_inputs(data, tmp_path, cluster):
    """Pairs of a key left-major, and the records of either side that the other has not."""
    folder = data[0]
    result = run_everywhere(f"{folder}/sources.py:outer", inputs_of(folder), tmp_path / "x", cluster.address)
    assert records(result) == as_json(joined("outer", data))


@pytest.mark.parametrize("how", ["inner", "left", "right", "semi", "anti"])
def test_the_other_joins(how, data):
    """Every join is what its definition says."""
    folder = data[0]
    result = mapreduce.run(f"{folder}/sources.py:{how}", inputs_of(folder), runner="inline")
    assert records(result) == as_json(joined(how, data))


def test_a_broadcast_join_needs_no_shuffle(data, tmp_path, cluster):
    """The results are the left join's in the order of the left input, over a process's death while it loads."""
    folder = data[0]
    result = run_everywhere(
        f"{folder}/sources.py:broadcast", inputs_of(folder), tmp_path / "x", cluster.address, kills=["users", "visits"]
    )
    people = by_user(data)
    wanted = [
        (user, ((page, seconds), person)) for user, page, seconds in data[1] for person in people[user][1] or [None]
    ]
    assert [(key, json.loads(json.dumps(value))) for key, value in result] == [
        (key, json.loads(json.dumps(value))) for key, value in wanted
    ]
    assert result.counters == {"users": len(data[2])}
    assert result.status.records_out == len(wanted)


def test_a_broadcast_join_feeds_the_next_step(data):
    """A second step gets the joined pairs as any other."""
    folder = data[0]
    result = mapreduce.run(f"{folder}/sources.py:countries", inputs_of(folder), runner="inline")
    wanted = defaultdict(int)
    for _, (seen, person) in joined("left", data):
        wanted[person["country"] if person else "nowhere"] += seen[1]
    assert dict(result) == wanted


def test_values_of_each_input_come_in_order(data):
    """With sort_values the values of each input are sorted on their own."""
    folder = data[0]
    result = mapreduce.run(f"{folder}/sources.py:both_ordered", inputs_of(folder), runner="inline")
    assert records(result) == as_json(
        (user, [sorted(seen, key=lambda visit: visit[1]), sorted(person["name"] for person in people)])
        for user, (seen, people) in by_user(data).items()
    )


def test_frames_all_the_way(data, tmp_path, cluster):
    """Mappers, combiner and a reducer over two inputs work on frames; keys of both meet in one call."""
    folder = data[0]
    result = run_everywhere(
        f"{folder}/sources.py:frames", inputs_of(folder), tmp_path / "x", cluster.address, kills=["per_user"]
    )
    wanted = []
    for user, (seen, people) in by_user(data).items():
        total = sum(seconds for _, seconds in seen) if seen else None
        wanted += [(user, {"seconds": total, "country": person["country"]}) for person in people or [{"country": None}]]
    assert records(result) == as_json(wanted)
    assert result.counters["combined"] >= 1500


def test_a_frame_that_is_none_of_records_names_the_function(data):
    """The job fails with the function, the columns that it gave, and the keys of the frame at hand."""
    folder = data[0]
    with pytest.raises(mapreduce.JobFailed, match=r"the reducer bad \(sources.py:\d+\) gave a frame with the columns"):
        mapreduce.run(f"{folder}/sources.py:bad_frames", f"{folder}/visits-0.tsv", runner="inline")
