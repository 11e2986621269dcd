"""The demos that sort, join and cut into visits, against plain Python on real and on known input."""

import csv
import email
import json
import random
import re
import sysconfig
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from everywhere import run_everywhere
from mapreduce.demos import terasort
from pages import demo_of_readme, run_blocks

import mapreduce

JOBS = Path(terasort.__file__).parent
SITE = Path(sysconfig.get_path("purelib"))


@pytest.mark.parametrize("reducers", [3])
def test_terasort_is_a_total_order(reducers, cluster, tmp_path):
    """All parts one after another are the input's records by key; and the checking job says so."""
    generated = tmp_path / "records.txt"
    terasort.generate(generated, 30_000)
    lines = generated.read_text().splitlines()
    assert {len(line) for line in lines} == {98}
    options = {"reducers": reducers, "split_size": "500KB"}
    result = run_everywhere(f"{JOBS}/terasort.py", str(generated), tmp_path / "sorted", cluster.address, **options)
    parts = sorted(result.output.glob("part-*"))
    rows = [row for part in parts for row in part.read_text().splitlines()]
    assert rows == [f"{line[:10]}\t{line[10:]}" for line in sorted(lines, key=lambda line: line[:10])]
    sizes = [part.stat().st_size for part in parts]
    assert len(sizes) == reducers
    assert max(sizes) < 1.2 * min(sizes)
    validate = f"{JOBS}/terasort.py:validate"
    told = dict(mapreduce.run(validate, result.output, runner="inline", split_size="300KB"))
    assert told["records"] == len(lines)
    assert told["out of order"] == 0
    unsorted = tmp_path / "unsorted.txt"
    unsorted.write_text("".join(f"{line[:10]}\t{line[10:]}\n" for line in lines))
    refused = dict(mapreduce.run(validate, unsorted, runner="inline"))
    assert refused["out of order"] > 10_000
    assert refused["checksum"] == told["checksum"]


def test_licences_of_what_is_installed(cluster, tmp_path):
    """Files of this Python environment, joined with their packages' metadata: the sums are those of plain loops."""
    inputs = {"files": f"{SITE}/*.dist-info/RECORD", "packages": f"{SITE}/*.dist-info/METADATA"}
    result = run_everywhere(f"{JOBS}/join_licences.py", inputs, tmp_path / "x", cluster.address, reducers=2)
    expected = {}
    for record in SITE.glob("*.dist-info/RECORD"):
        headers = email.message_from_string((record.parent / "METADATA").read_text())
        spoken = [text for text in headers.get_all("Classifier") or [] if text.startswith("License ::")]
        free = (headers["License"] or "").strip().split("\n")[0]
        said = headers["License-Expression"] or ", ".join(text.split(" :: ")[-1] for text in spoken) or free
        with record.open(newline="") as file:
            sizes = [int(size or 0) for _, _, size in csv.reader(file)]
        expected.setdefault(said or "not said", []).extend(sizes)
    told = {name: (sums["files"], sums["bytes"], sums["largest"]) for name, sums in result}
    assert told == {name: (len(sizes), sum(sizes), max(sizes)) for name, sizes in expected.items()}
    assert len(told) > 3


def test_the_readme_shows_what_they_print(tmp_path):
    """What the README shows of TeraSort is printed exactly; the join and the visits print the like of it."""
    for _, printed, shown in run_blocks(demo_of_readme("TeraSort"), tmp_path):
        assert printed == shown
    *_, (_, printed, shown) = run_blocks(demo_of_readme("A join"), tmp_path)
    lines = printed.splitlines()
    assert len(lines) == len(shown.splitlines())
    assert all(re.fullmatch(r'[^\t]+\t\{"files":\d+,"bytes":\d+,"largest":\d+\}', line) for line in lines)
    visits = _log(tmp_path / "apache_access.log", 40, random.Random(1))
    (_, ran, _), (_, counted, _), (_, failed, shown) = run_blocks(demo_of_readme("Visits"), tmp_path)
    assert (ran, int(counted)) == ("", len(visits))
    assert [list(json.loads(line)["value"]) for line in failed.splitlines()] == [
        list(json.loads(line)["value"]) for line in shown.splitlines()
    ]


def _log(path, clients, chance):
    """Write a log whose visits are known; gives (address, began, requests, seconds, errors) of each."""
    lines, visits = [], []
    for number in range(clients):
        address = f"10.0.{number // 250}.{number % 250}"
        time = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(86_400))
        for _ in range(chance.randint(1, 4)):
            hits = chance.randint(1, 30)
            began, errors = time, 0
            for hit in range(hits):
                status = chance.choice([200, 200, 200, 304, 404])
                errors += status == 404
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000")
                lines.append(f'{address} - - [{stamp}] "GET /{hit} HTTP/1.1" {status} {hit} "-" "agent {number}"')
                last = time
                time += timedelta(seconds=chance.randint(0, 30 * 60))
            visits.append((address, began.isoformat(), hits, int((last - began).total_seconds()), errors))
            time = last + timedelta(seconds=30 * 60 + chance.randint(1, 9_999))
    chance.shuffle(lines)
    path.write_text("".join(f"{line}\n" for line in [*lines, "no log line"]))
    return visits


def test_visits_of_an_access_log(cluster, tmp_path):
    """Requests in any order become the visits that they were; those that only drew errors are an output beside."""
    log = tmp_path / "access.log"
    visits = _log(log, 80, random.Random(7))
    options = {"reducers": 2, "split_size": "20KB"}
    result = run_everywhere(f"{JOBS}/log_sessions.py", str(log), tmp_path / "x", cluster.address, **options)
    assert result.counters == {"lines that are no log lines": 1}
    rows = [json.loads(line) for part in result.output.glob("part-*") for line in part.read_text().splitlines()]
    names = ("began", "requests", "seconds", "errors")
    told = [(row["key"], *(row["value"][name] for name in names)) for row in rows]
    assert sorted(told) == sorted(visits)
    failed = list(result.outputs["failed"])
    assert len(failed) == sum(errors == hits for _, _, hits, _, errors in visits)
    assert failed
