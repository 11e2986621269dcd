"""The curves of the benchmarks: inputs with known totals, results that are checked, bounds, tables and charts."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import contest, growth, growth_inputs, growth_report, growth_simulated, inputs, measure, report
from benchmarks.growth_curves import CURVES, SHAPES, shape_size, split_bytes
from benchmarks.rows import ROWS, Asked
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits

BY_NAME = {curve.name: curve for curve in CURVES}
MB = growth.MB


def totals_in(folder):
    return json.loads((folder / growth_inputs.TOTALS).read_text())


def counted(folder, output):
    """Word count of a folder's files, written as a job's output."""
    text = "".join(path.read_text() for path in sorted(folder.glob("*.txt")))
    output.mkdir()
    lines = [f"{word}\t{count}\n" for word, count in Counter(text.split()).items()]
    (output / "part-0").write_text("".join(lines[::2]))
    (output / "part-1").write_text("".join(lines[1::2]))
    return lines


def test_a_text_under_several_names_has_the_totals_of_all_of_them(tmp_path):
    """Linked files take no room again; a right word count is no fault, and one with a count off by one is."""
    size = {"size": 16_000, "version": 1}
    base = inputs.make(tmp_path, "text", growth_inputs.texts, **size)
    linked = inputs.make(tmp_path, "linked", growth_inputs.linked, base=base, files=3, copies=2)
    files = sorted(linked.glob("*.txt"))
    assert [path.stat().st_ino for path in files[:3]] == [path.stat().st_ino for path in files[3:]]
    output = tmp_path / "out"
    lines = counted(linked, output)
    assert growth_inputs.check(linked, output) == ""
    word, count = lines[0].split("\t")
    (output / "part-0").write_text("".join([f"{word}\t{int(count) + 1}\n", *lines[2::2]]))
    assert growth_inputs.check(linked, output).startswith("a wrong result: ")


def test_records_to_sort_have_the_digest_of_all_copies(tmp_path):
    """The records of all links, in order, are no fault; the same out of order are."""
    base = inputs.make(tmp_path, "records", growth_inputs.records, size=4000)
    linked = inputs.make(tmp_path, "linked", growth_inputs.linked, base=base, files=4, copies=3)
    lines = sorted(line for path in linked.glob("*.txt") for line in path.read_bytes().splitlines(keepends=True))
    assert len(lines) == 3 * 40
    output = tmp_path / "out"
    output.write_bytes(b"".join(lines))
    sort = BY_NAME["sort"]
    assert sort.check(linked, output) == ""
    output.write_bytes(b"".join(reversed(lines)))
    assert "not in order" in sort.check(linked, output)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_totals_that_they_tell(tmp_path, name):
    """Keys, records and characters of a made shape are those that its totals say; half of the hot one has one key."""
    sizes = shape_size(name, quick=True)
    folder = inputs.make(tmp_path, "shape", growth_inputs.pairs, **sizes)
    lines = [line for path in folder.rglob("*.txt") for line in path.read_text().splitlines()]
    counts = Counter(line.split("\t")[0] for line in lines)
    chars = sum(len(line.split("\t")[1]) for line in lines)
    (tmp_path / "out").write_text("".join(f"{key}\t[{count},0]\n" for key, count in counts.items()))
    found = growth_inputs.totals(tmp_path / "out")
    assert found | {"sums": [len(lines), chars]} == totals_in(folder)
    assert set(map(len, lines)) == {sizes["key_bytes"] + sizes["value_bytes"] + 1}
    share = max(counts.values()) / len(lines)
    assert (0.4 < share < 0.6) == ("half" in name)


def test_tiny_files_are_packed_into_splits(tmp_path):
    """Many files in folders of a thousand become a few splits, each of at most so many as open for its size."""
    sizes = shape_size("200,000 tiny files", quick=True) | {"files": 1300}
    folder = inputs.make(tmp_path, "shape", growth_inputs.pairs, **sizes)
    assert {len(list(place.iterdir())) for place in folder.iterdir() if place.is_dir()} == {1000, 300}
    found = BY_NAME["shapes"].look(folder)
    assert (found["files"], found["splits"]) == (1300, 5)
    assert found["planned_s"] > 0


@pytest.mark.parametrize(("name", "quick"), [("maps", True), ("grid", True)])
def test_splits_are_as_many_as_a_point_says(tmp_path, name, quick):
    """The split size of a point cuts its input into just so many."""
    for point in BY_NAME[name].points(quick):
        words = list(map(str, point.command(Asked(tmp_path, tmp_path / "out", 2))))
        size = int(words[words.index("--split-size") + 1])
        assert size == split_bytes(int(point.at), quick=quick)
        assert len(plan_splits(find_inputs([str(point.made(tmp_path))]), size)) == point.at


def test_every_curve_has_points_and_programs(tmp_path):
    """Labels are not given twice, points go up along the axis, and their scripts are there."""
    for curve in CURVES:
        for quick in (True, False):
            points = curve.points(quick)
            assert len({point.label for point in points}) == len(points) > 1
            places = [point.at for point in points if point.at is not None]
            assert places == sorted(set(places))
            assert bool(places) == bool(curve.axis)
            for point in points:
                words = point.command(Asked(tmp_path, tmp_path / "out", 2))
                scripts = [word for word in words if isinstance(word, Path) and word.suffix == ".py"]
                assert len(scripts) == 2
                assert all(script.exists() for script in scripts)


# ---- from what was found to the report


def found(label, at, *, size=MB, seconds=(1.0,), peak_mb=100, **told):
    timed = [measure.Measured(0, second, 0, 0, None, []) for second in seconds]
    sampled = measure.Measured(0, 1.0, 0, 0, peak_mb * MB, [])
    told = {"maps": 10, "reduces": 2, "shuffle_bytes": MB, "seconds": seconds[0]} | told
    looked = {"files": 1, "splits": 1, "planned_s": 0.5}
    return growth.Found(label, at, size, timed, [told] * len(timed), sampled, looked)


def inputs_found(last_s):
    """A curve of inputs: start-up of 1 s, then 20 ms a megabyte and the start-up; the last one as given."""
    sizes = [(64, 2.3), (256, 6.1), (1000, 21.0), (8000, last_s)]
    points = [found(f"{size} MB", size, size=size * MB, seconds=(second,)) for size, second in sizes]
    return growth.Outcome("input", 2, [found("1 MB", None, seconds=(0.6, 0.5, 0.7)), *points])


def limit_lines(curve, outcome):
    return growth_report.limits_table([(curve, outcome)])[2:]


def test_the_rise_is_of_seconds_per_megabyte():
    """It is from the first size, and again from the first that start-up takes little of; both have the bound."""
    first, worked, peak = limit_lines(BY_NAME["input"], inputs_found(8000 * 0.02 * 1.3))
    assert "| -28 % | at most 15 % | met |" in first  # from 35.9 ms for a MB to 26
    assert "| 9 % | at most 15 % | met |" in worked  # from 23.8
    assert "| 50 MB a slot | at most 600 MB a slot | met |" in peak
    _, worked, _ = limit_lines(BY_NAME["input"], inputs_found(8000 * 0.02 * 1.4))
    assert "| 18 % | at most 15 % | **not met** |" in worked


def test_a_bound_that_cannot_be_told_says_so():
    """A curve whose points have all failed, or that stops before what the bound is of, is not measured."""
    failed = growth.Outcome("input", 2, [growth.Found("64 MB", 64.0, faults=["exit code 1: why"])])
    assert all("| not measured |" in line for line in limit_lines(BY_NAME["input"], failed))
    cut_off = inputs_found(160)
    cut_off.points[-1] = failed.points[0]
    assert all("| not measured |" in line for line in limit_lines(BY_NAME["input"], cut_off)[:2])
    tasks = growth.Outcome("tasks", 2, [found("1,000", 1000)])
    assert "| not measured |" in limit_lines(BY_NAME["tasks"], tasks)[0]
    assert "- 64 MB: exit code 1: why" in growth_report.table(BY_NAME["input"], failed)


def test_tasks_are_counted_by_the_seconds_of_the_job():
    """The rate is of map and reduce tasks over what the job took on workers that waited, against its bound."""
    outcome = growth.Outcome("tasks", 2, [found("10,000", 10_000, maps=9999, reduces=1, seconds=(4.0,))])
    assert "| 2,500 a second | at least 3,000 a second | **not met** |" in limit_lines(BY_NAME["tasks"], outcome)[0]


def test_tables_have_spreads_and_ratios(tmp_path):
    """Several turns give a median with its spread; what was stored gives the same report."""
    outcome = growth.Outcome("grid", 2, [found("8 x 8", 8), found("100 x 100", 100, seconds=(2.0, 3.0, 4.0))])
    outcome.store(tmp_path)
    lines = growth_report.table(BY_NAME["grid"], growth.Outcome.stored(tmp_path, "grid"))
    assert lines[-1] == "| 100 x 100 | 3.00 (2.00-4.00) | 3.00 | 50 | 10 | 2 | 1.0 | 50.00 |"
    assert lines == growth_report.table(BY_NAME["grid"], outcome)
    assert growth.Outcome.stored(tmp_path, "maps") is None


def elements(svg, name):
    return [one for one in ET.fromstring(svg).iter() if one.tag.endswith(f"}}{name}")]


def test_charts_have_a_line_for_each_measure_and_a_bar_for_each_shape():
    """A dot for each point of an axis, in its order, and dashes for a bound; shapes are bars beside each other."""
    svg = growth_report.charts([(BY_NAME["input"], inputs_found(160))])
    lines = [one.get("points").split() for one in elements(svg, "polyline")]
    assert [len(line) for line in lines] == [4, 4]
    across = [float(place.split(",")[0]) for place in lines[0]]
    assert across == sorted(across)
    assert len([one for one in elements(svg, "path") if one.get("stroke-dasharray")]) == 2
    outcome = growth.Outcome("shapes", 2, [found(name, None, seconds=(1.0 + n,)) for n, name in enumerate(SHAPES)])
    svg = growth_report.charts([(BY_NAME["shapes"], outcome)])
    heights = [float(one.get("height")) for one in elements(svg, "rect")[1:6]]
    assert heights == pytest.approx([heights[0] * (1 + number) for number in range(5)], abs=0.5)
    empty = growth.Outcome("grid", 2, [growth.Found("8 x 8", 8.0)])
    assert "not measured" in growth_report.charts([(BY_NAME["grid"], empty)])


def test_the_simulated_cluster_has_its_bounds_and_table(tmp_path):
    """Its figures are held against their bounds, the worst of all cases, and shown case by case."""
    case = dict.fromkeys(("tasks", "workers", "events", "p50_ms", "max_ms", "mean_us", "tasks_per_s"), 1500)
    figures = {"small": case | {"p99_ms": 1.0, "peak_mb": 100}, "large": case | {"p99_ms": 21.0, "peak_mb": 499}}
    path = tmp_path / "growth-coordinator.json"
    assert growth_simulated.simulated(tmp_path, quick=True, again=False) is None
    path.write_text(json.dumps(figures))
    text = growth_report.markdown([], growth_simulated.simulated(tmp_path, quick=True, again=False))
    assert "| 21.00 ms | at most 20 ms | **not met** |" in text
    assert "| 499.00 MB | at most 500 MB | met |" in text
    assert "| large | 1,500 | 1,500 | 1,500 | 1.500 | 1,500.000 | 21.000 | 1,500.0 | 1,500 | 499 |" in text


def writes(text):
    """A point's command that writes this as its output, and what is told."""
    told = '{"maps":1,"reduces":1,"seconds":0.5,"shuffle_bytes":7}'
    return lambda asked: [
        "sh",
        "-c",
        f"printf '{text}' > {asked.output}; echo '{told}' > {asked.output.parent}/told.json",
    ]


def test_a_curve_is_run_and_every_result_checked(tmp_path):
    """Right results are timed in each turn, but as often as a point says; a wrong one is a fault and no time."""

    def made(work):
        return inputs.make(work, "text", growth_inputs.pairs, lines=4, files=1, keys=1, key_bytes=8, value_bytes=2)

    right = "00000000\\t[4,8]\\n"
    points = [
        growth.Point("right", 1.0, made, writes(right)),
        growth.Point("once", 2.0, made, writes(right), turns=1),
        growth.Point("wrong", 3.0, made, writes(right.replace("4", "5"))),
        growth.Point("fails", 4.0, made, lambda _: ["sh", "-c", "echo this is why >&2; exit 3"]),
    ]
    curve = growth.Curve("some", "Some", "", "axis", lambda _quick: points, [])
    options = contest.Options(tmp_path, slots=1, turns=2)
    outcome = growth.Growth(curve, options, say=lambda _: None).run()
    one, once, wrong, fails = outcome.points
    assert (len(one.timed), len(once.timed), one.size) == (2, 1, 4 * 12)
    assert one.told[0]["shuffle_bytes"] == 7
    assert one.sampled.peak_bytes is not None
    assert not wrong.timed
    assert [fault.partition(":")[0] for fault in wrong.faults] == ["a wrong result"] * 2
    assert fails.faults == ["exit code 3: this is why"] * 2


def test_what_is_asked_for_is_run():
    """Rows and curves both, unless rows, curves, contestants or texts are named."""

    def names(*words):
        rows, curves = command.chosen(command.parse(words))
        return [row.name for row in rows], curves

    every = [row.name for row in ROWS], [*BY_NAME, "coordinator"]
    assert names() == names("--quick") == every
    assert names("--growth") == ([], every[1])
    assert names("--growth", "tasks", "input") == ([], ["tasks", "input"])
    assert names("--row", "join") == (["join"], [])
    assert names("--row", "join", "--growth", "maps") == (["join"], ["maps"])
    assert names("--contestant", "engine") == (every[0], [])


def test_the_chart_of_the_rows_stands_before_them():
    """It is linked once, between the title of the rows and the first of them."""
    text = report.with_chart("a\n\n## Rows\n\n### first\n", "some.svg")
    assert re.fullmatch(r"a\n\n## Rows\n\n!\[.*\]\(some.svg\)\n\n### first\n", text)
