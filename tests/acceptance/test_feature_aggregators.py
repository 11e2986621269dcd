"""All aggregators at once, over fields of tuples, against plain Python: with every runner, and under kills."""

import bisect
import statistics

import pytest
from everywhere import run_everywhere

JOB = '''
from everywhere import die_once
from mapreduce import *


def by_rest(line, *, grave: str = "", ctx):
    number = int(line)
    if number == 20_000:
        die_once(grave, "mapper")
    yield number % 3, (number * 37 % 1009, float(number), f"w{number % 500}")


class Widest(Aggregator):
    """A user's own: how far apart the values are."""

    def create(self, value):
        return value, value

    def merge(self, state, other):
        return min(state[0], other[0]), max(state[1], other[1])

    def finish(self, state):
        return state[1] - state[0]


numbers = {
    "n": Count(),
    "sum": Sum(),
    "range": {"low": Min(), "high": Max(), "width": Widest()},
    "mean": Mean(),
    "variance": Variance(),
    "top": TopK(4),
    "quantiles": Quantiles([0, 0.5, 0.99, 1]),
    "distinct": Distinct(),
}
floats = {"variance": Variance(), "some": Sample(5), "others": Sample(5, seed=1), "last": TopK(1)}
words = {"first": First(), "distinct": Distinct(), "some": Sample(5)}


def by_size(rest, results, *, grave: str = ""):
    die_once(grave, "second mapper")
    yield "all", results[0]["n"]


results = Job(by_rest, reducer=(numbers, floats, words), reducers=2, split_size=20_000)
totals = Job(
    steps=[Step(by_rest, reducer=(numbers, floats, words)), Step(by_size, reducer={"all": Collect(), "sum": Sum()})],
    split_size=20_000,
)
'''
RECORDS = 30_000


@pytest.fixture
def project(tmp_path):
    """A job's module and its input: a number on each line."""
    (tmp_path / "numbers_job.py").write_text(JOB, encoding="utf-8")
    (tmp_path / "numbers.txt").write_text("".join(f"{number}\n" for number in range(RECORDS)), encoding="utf-8")
    return tmp_path


def near(values, quantile, point):
    """Whether a value's rank among the values (sorted) is within 1% of a point."""
    low, high = (side(values, quantile) / len(values) for side in (bisect.bisect_left, bisect.bisect_right))
    return low - 0.01 <= point <= high + 0.01


def test_aggregators_at_once_give_what_plain_python_gives(project, cluster):
    """Each aggregator over its field: exact where it is exact, near where it is near, and the same bytes everywhere."""
    result = run_everywhere(
        f"{project / 'numbers_job.py'}:results",
        project / "numbers.txt",
        project / "x",
        cluster.address,
        kills=["mapper"],
    )
    found = dict(result)
    assert sorted(found) == [0, 1, 2]
    for rest, (numbers, floats, words) in found.items():
        all_numbers = range(rest, RECORDS, 3)
        first = sorted(number * 37 % 1009 for number in all_numbers)
        assert (numbers["n"], numbers["sum"], numbers["mean"]) == (len(first), sum(first), sum(first) / len(first))
        assert numbers["range"] == {"low": first[0], "high": first[-1], "width": first[-1] - first[0]}
        assert numbers["variance"] == pytest.approx(statistics.pvariance(first), rel=1e-14)
        assert numbers["top"] == first[-4:][::-1]
        points = zip((0, 0.5, 0.99, 1), numbers["quantiles"], strict=True)
        assert all(near(first, quantile, point) for point, quantile in points)
        assert numbers["distinct"] == pytest.approx(len(set(first)), rel=0.03)
        assert floats["variance"] == pytest.approx(statistics.pvariance(all_numbers), rel=1e-12)
        assert floats["last"] == [float(all_numbers[-1])]
        for some in (floats["some"], floats["others"]):
            assert len(set(some)) == 5
            assert set(some) <= set(map(float, all_numbers))
        assert floats["some"] != floats["others"]
        assert words["some"] == [f"w{int(number) % 500}" for number in floats["some"]]  # the same records
        assert words["first"] == f"w{rest}"
        assert words["distinct"] == 500


def test_aggregators_follow_one_another_in_steps(project, cluster):
    """A dict that an aggregating reducer gives is a value of the next step, whose reducer aggregates again."""
    target = f"{project / 'numbers_job.py'}:totals"
    result = run_everywhere(
        target, project / "numbers.txt", project / "y", cluster.address, kills=["mapper", "second mapper"]
    )
    assert dict(result) == {"all": {"all": [RECORDS // 3] * 3, "sum": RECORDS}}
