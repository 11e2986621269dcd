"""Several jobs on one cluster, and several workers for one job: who goes first, and who does what."""

import itertools

import pytest
from cluster import Cluster, children_of, wait_for
from reference import bytes_of

MAPS = 6


@pytest.fixture
def cluster(tmp_path):
    """A coordinator; each test starts the workers that it needs."""
    with Cluster(tmp_path) as running:
        yield running


class Submitted:
    """A gated job with a folder of marks of its own, handed over and not waited for."""

    def __init__(self, cluster, job, texts, name, *options):
        self.cluster = cluster
        self.gate = cluster.folder / f"gate-{name}"
        self.gate.mkdir(exist_ok=True)
        self.output = cluster.folder / name
        command = ["submit", job, texts, "-o", self.output, "-p", f"gate={self.gate}", "--split-size", "5KB"]
        self.id = cluster.run(*command, "--detach", *options).stdout.strip()

    def began_ns(self):
        """When each of its map tasks began, as far as they have."""
        return {path.stem: path.stat().st_mtime_ns for path in self.gate.glob("map*")}

    def ends(self):
        """Wait until it is done."""
        wait_for(lambda: self.cluster.status(self.id).state == "done", f"{self.id} is done")
        return self.began_ns()


def test_jobs_go_by_priority_then_first_come_first_served(cluster, gated_job, gated_texts):
    """Behind a running task the job of the highest priority goes on first, then the others in the order they came."""
    cluster.start_worker(slots=1)
    (cluster.folder / "gate-first").mkdir()
    (cluster.folder / "gate-first" / "hold-map0").touch()
    first = Submitted(cluster, gated_job, gated_texts, "first")
    wait_for(first.began_ns, "the first job's first task")
    second = Submitted(cluster, gated_job, gated_texts, "second")
    low = Submitted(cluster, gated_job, gated_texts, "low", "--priority", "-1")
    high = Submitted(cluster, gated_job, gated_texts, "high", "--priority", "5")
    wait_for(lambda: set(cluster.states().values()) == {"running"}, "all four jobs are ready to run")
    assert [len(job.began_ns()) for job in (first, second, low, high)] == [1, 0, 0, 0]
    (first.gate / "hold-map0").unlink()
    began = [job.ends() for job in (high, first, second, low)]
    assert [len(times) for times in began] == [MAPS] * 4
    del began[1]["map0"]  # it ran already
    for earlier, later in itertools.pairwise(began):
        assert max(earlier.values()) < min(later.values())
    assert len({tuple(bytes_of(job.output).values()) for job in (first, second, low, high)}) == 1


def test_jobs_run_at_the_same_time(cluster, gated_job, gated_texts):
    """While a job that came first holds one of two slots, another one goes through the other slot to its end."""
    cluster.start_worker(slots=2)
    one = gated_texts.parent / "one"
    one.mkdir()
    (gated_texts / "0.txt").rename(one / "0.txt")
    (cluster.folder / "gate-held").mkdir()
    (cluster.folder / "gate-held" / "hold-map0").touch()
    held = Submitted(cluster, gated_job, one, "held", "--priority", "9")
    wait_for(held.began_ns, "it holds its slot")
    quick = Submitted(cluster, gated_job, gated_texts, "quick")
    assert len(quick.ends()) == MAPS - 1
    assert cluster.status(held.id).state == "running"
    (held.gate / "hold-map0").unlink()
    held.ends()


def test_tasks_go_to_every_slot_of_every_worker(cluster, gated_job, gated_texts):
    """Of a job's six tasks four run at once on two workers with two slots each, the others after them."""
    first, second = cluster.start_worker(slots=2), cluster.start_worker(slots=2)
    gate = cluster.folder / "gate-job"
    gate.mkdir()
    for number in range(MAPS):
        (gate / f"hold-map{number}").touch()
    job = Submitted(cluster, gated_job, gated_texts, "job")
    wait_for(lambda: len(job.began_ns()) == 4, "a task in each slot")
    standing = {int(path.suffix[1:]): path.stem for path in gate.glob("map*")}
    tasks = [{name for pid, name in standing.items() if pid in children_of(w.pid)} for w in (first, second)]
    assert sorted(len(names) for names in tasks) == [2, 2]
    for number in range(MAPS):
        (gate / f"hold-map{number}").unlink()
    assert len(job.ends()) == MAPS
