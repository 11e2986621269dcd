"""Results that stay on the workers of a `Cluster`, and are the input of its next jobs."""

import gc
import math
import random

import pytest
from cluster import Cluster, alive, wait_for
from everywhere import die_once

import mapreduce
from mapreduce import Count, Input, Job, JobFailed, Join, Kept, Mean, Step, UsageError

ROUNDS = 3
START = ((2.0, 2.0), (8.0, 8.0), (5.0, 1.0))


def parse(line, *, grave: str = ""):
    """A point by its number, from a line."""
    number, x, y = line.split()
    if number == "100":
        die_once(grave, "parse")
    yield int(number), (float(x), float(y))


def nearest(point, centres):
    """The place of the nearest centre."""
    return min(range(len(centres)), key=lambda place: math.dist(point, centres[place]))


def assign(number, point, *, centres: tuple, grave: str = ""):
    """Each point goes to its nearest centre."""
    if number == 200:
        die_once(grave, f"assign {centres[0]}")
    yield nearest(point, centres), point


def label(number, point):
    """The number of a point, by its column."""
    yield int(point[0]), number


def names(line):
    """A column's name, from a line."""
    column, name = line.split()
    yield int(column), name


def odd(number, point):
    """Only the points with odd numbers, with their types as they were."""
    if number % 2:
        yield number, (point, {"odd": None}, True)


POINTS = Job(parse, split_size="4KB", name="points")
ROUND = Job(assign, reducer=(Mean(), Mean()), name="round")
LABELLED = {"points": Input(label), "names": Input(names)}


@pytest.fixture
def points(tmp_path):
    """A file of 500 points, and one with the names of their columns; and the points themselves."""
    chance = random.Random(7)
    known = {number: (chance.uniform(0, 10), chance.uniform(0, 10)) for number in range(500)}
    path = tmp_path / "points.txt"
    path.write_text("".join(f"{number} {x!r} {y!r}\n" for number, (x, y) in known.items()))
    (tmp_path / "names.txt").write_text("".join(f"{column} c{column}\n" for column in range(8)))
    return path, known


def k_means(known):
    """The centres after ROUNDS rounds, in plain Python."""
    centres = START
    for _ in range(ROUNDS):
        groups = [[p for p in known.values() if nearest(p, centres) == place] for place in range(len(centres))]
        columns = [zip(*group, strict=True) for group in groups]
        centres = tuple((math.fsum(x) / len(x), math.fsum(y) / len(y)) for x, y in columns)
    return centres


def loop(workers, kept, folder, grave):
    """The same over kept points."""
    centres = START
    for number in range(ROUNDS):
        params = {"centres": centres, "grave": str(grave) if number == 1 else ""}
        result = workers.run(ROUND, kept, folder / f"round-{number}", params=params)
        centres = tuple(centre for _, centre in sorted(result))
    return centres


def close(found, wanted):
    """Whether these points are equal but for the order in which floats were added."""
    return all(math.isclose(a, b) for f, w in zip(found, wanted, strict=True) for a, b in zip(f, w, strict=True))


@pytest.mark.parametrize("where", ["local", "tcp"])
def test_a_loop_over_kept_points(where, points, tmp_path, cluster):
    """Centres, joins and further kept results are those of plain Python, under kills and with parts on two workers."""
    path, known = points
    folder, grave = tmp_path / where, tmp_path / "grave"
    grave.mkdir()
    with mapreduce.Cluster(2) if where == "local" else mapreduce.Cluster(coordinator=cluster.address) as workers:
        kept = workers.run(POINTS, path, params={"grave": str(grave)}, keep=True)
        assert isinstance(kept, Kept)
        assert (kept.records, kept.parts, kept.counters, kept.warnings) == (500, 5, {}, [])
        assert kept.bytes > 500
        centres = loop(workers, kept, folder, grave)
        assert close(centres, k_means(known))
        assert len(list(grave.iterdir())) == 2

        expected = sorted((int(x), (n, f"c{int(x)}")) for n, (x, _) in known.items() if x < 8)
        inputs = {"points": kept, "names": tmp_path / "names.txt"}
        joined = workers.run(Job(inputs=LABELLED, reducer=Join()), inputs, folder / "joined", output_format="jsonl")
        assert sorted((key, tuple(value)) for key, value in joined) == expected

        table = workers.run(Job(names, name="names"), tmp_path / "names.txt", keep=True)
        job = Job(inputs={"points": Input(label), "names": Input()}, reducer=Join(broadcast=True))
        again = workers.run(job, {"points": kept, "names": table}, folder / "broadcast", output_format="jsonl")
        assert sorted((key, tuple(value)) for key, value in again) == expected

        odd_ones = workers.run(Job(odd), kept, keep=True)
        kept.drop()
        check = Job(steps=[Step(lambda key, value: [(repr(value), key)]), Step(reducer=Count())])
        counted = dict(workers.run(check, odd_ones, folder / "odd"))
        assert counted == {repr((known[n], {"odd": None}, True)): 1 for n in range(1, 500, 2)}
    assert odd_ones.id in repr(odd_ones)
    assert repr(odd_ones).endswith("dropped>")


def test_kept_results_outlive_a_worker(points, tmp_path):
    """What a killed worker held is made again by another, from what it was made of, and the next run gives the same."""
    path, known = points
    with Cluster(tmp_path) as machines, mapreduce.Cluster(coordinator=machines.address) as workers:
        first, second = machines.start_worker(slots=1), machines.start_worker(slots=1)
        kept = workers.run(POINTS, path, keep=True)
        doubled = workers.run(Job(lambda n, p: [(2 * n, p)]), kept, keep=True)
        parts = [len(list((tmp_path / "scratch").glob(f"agent-{w.worker_id}/jobs/*/part-*"))) for w in (first, second)]
        assert sum(parts) == kept.parts + doubled.parts
        assert all(parts)
        first.kill()
        first.wait()
        result = workers.run(Job(lambda n, p: [(n, p)]), doubled, tmp_path / "out", output_format="jsonl")
        assert {number: tuple(point) for number, point in result} == {2 * n: point for n, point in known.items()}
        assert alive(second.pid)


def test_what_is_dropped_is_gone_from_the_disks(points, tmp_path):
    """Dropped, lost as an object, or left when the Cluster is closed: the workers delete it, and `jobs` says so."""
    path, _ = points
    with Cluster(tmp_path) as machines:
        machines.start_worker(slots=2)

        def state(kept):
            return machines.json("status", kept.id)["state"]

        def folders():
            return {folder.name for folder in (tmp_path / "scratch").glob("agent-*/jobs/*")}

        workers = mapreduce.Cluster(coordinator=machines.address)
        dropped, left = (workers.run(POINTS, path, keep=True) for _ in range(2))
        lost = workers.run(POINTS, path, keep=True)
        name = lost.id
        assert folders() == {dropped.id, left.id, name}
        assert state(dropped) == "kept"
        assert "kept on the workers: " in machines.run("status", dropped.id).stdout
        dropped.drop()
        dropped.drop()
        wait_for(lambda: folders() == {left.id, name}, "what was dropped is deleted")
        assert state(dropped) == "done"
        made_of_it = workers.run(Job(odd), lost, keep=True)
        del lost
        gc.collect()
        assert machines.json("status", name)["state"] == "kept", "it is needed by what was made of it"
        refused = machines.run("cancel", name, check=False)
        assert refused.returncode == 2
        assert f"job {made_of_it.id} reads the kept result of {name}" in refused.stderr
        made_of_it.drop()
        wait_for(lambda: folders() == {left.id}, "both are deleted")
        workers.close()
        wait_for(lambda: not folders(), "closing drops the rest")


def test_results_that_cannot_be_read(points, tmp_path):
    """Of another Cluster, dropped, or in a list: each is refused, and so is a folder for them; the rest lives on."""
    path, _ = points
    with mapreduce.Cluster(1) as workers, mapreduce.Cluster(1) as others:
        kept = workers.run(POINTS, path, keep=True)
        with pytest.raises(UsageError, match="lie with the workers of the Cluster that made them"):
            others.run(ROUND, kept)
        with pytest.raises(UsageError, match="lie with the workers of the Cluster that made them"):
            mapreduce.run(ROUND, kept)
        with pytest.raises(UsageError, match="an input by itself"):
            workers.run(ROUND, [kept, path])
        with pytest.raises(UsageError, match=r"run a job over them, cluster\.run\(job, kept\)"):
            list(kept)
        with pytest.raises(UsageError, match="leave out output="):
            workers.run(POINTS, path, tmp_path / "out", keep=True)
        with pytest.raises(UsageError, match="named outputs errors, which need an output folder"):
            workers.run(Job(parse, outputs={"errors": "jsonl"}), path, keep=True)
        with pytest.raises(JobFailed, match="ZeroDivisionError") as failed:
            workers.run(Job(lambda n, p: [(n, 1 / 0)]), kept, keep=True)
        assert len(failed.traceback) == 2, "the caller's line, and one of ours"
        result = workers.run(Job(odd), kept)
        assert sum(1 for _ in workers.run(Job(lambda n, value: [(n, value)]), result)) == 250
        kept.drop()
        with pytest.raises(UsageError, match="were dropped"):
            workers.run(ROUND, kept)
    with pytest.raises(UsageError, match="were dropped"):
        workers.run(ROUND, kept)
