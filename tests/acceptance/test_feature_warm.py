"""Files that travel with a job, and jobs that run again and again on workers that stay."""

import textwrap
from collections import Counter
from pathlib import Path

import everywhere
import nbformat
import pytest
from cluster import children_of, environment, wait_for
from cluster import mapreduce as command
from everywhere import bytes_of, run_everywhere
from nbclient import NotebookClient

import mapreduce

TEXTS = ["the cat and the dog", "a dog is not a cat", "and so on"]

FILES_JOB = """
import functools
from everywhere import die_once

@functools.cache
def words_of(path):
    return frozenset(path.read_text().split())

class Kept:
    def __init__(self, *, ctx):
        self.stop = words_of(ctx.files["stop.txt"])
        self.names = sorted(ctx.files)

    def __call__(self, line, *, grave: str = ""):
        assert self.names == ["stop.txt", "weights"]
        if line.startswith("and"):
            die_once(grave, "map")
        for word in line.split():
            if word not in self.stop:
                yield word, 1

def combiner(word, counts, *, ctx):
    yield word, sum(counts) + 0 * len(ctx.files["weights"].read_bytes())

def reducer(word, counts, *, ctx, grave: str = ""):
    die_once(grave, "reduce")
    weight = dict(line.split() for line in ctx.files["weights"].read_text().splitlines())
    yield word, sum(counts) * int(weight.get(word, 1))

from mapreduce import Job
job = Job(Kept, combiner=combiner, reducer=reducer, name="kept")
"""

MEANS_JOB = """
from everywhere import die_once

def mapper(line, *, centres: tuple, grave: str = ""):
    number = float(line)
    if number == 16:
        die_once(grave, f"map-{len(centres)}")
    yield min(range(len(centres)), key=lambda place: abs(centres[place] - number)), number

def reducer(place, numbers):
    numbers = list(numbers)
    yield place, sum(numbers) / len(numbers)
"""


@pytest.fixture
def texts(tmp_path):
    """Three files of one line, a list of words to leave out, and weights of words."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(f"{text}\n")
    (tmp_path / "stop.txt").write_text("a the and\n")
    (tmp_path / "w.txt").write_text("dog 10\n")
    (tmp_path / "files_job.py").write_text(textwrap.dedent(FILES_JOB))
    return folder


def test_files_travel_everywhere(texts, tmp_path, cluster):
    """Mapper classes, combiners and reducers find them by their names, wherever they run, and whatever is killed."""
    result = run_everywhere(
        str(tmp_path / "files_job.py"),
        texts,
        tmp_path / "runs",
        cluster.address,
        kills=["map", "reduce"],
        files={"stop.txt": tmp_path / "stop.txt", "weights": tmp_path / "w.txt"},
        split_size=20,
        reducers=2,
    )
    counts = Counter(word for text in TEXTS for word in text.split() if word not in {"a", "the", "and"})
    assert dict(result) == {word: count * (10 if word == "dog" else 1) for word, count in counts.items()}


def test_files_on_the_command_line(texts, tmp_path, cluster):
    """`run` and `submit` take --file, with a name or without; a name that no file has is told to the user."""
    given = ["files_job.py", texts, "--file", "stop.txt", "--file", f"weights={tmp_path / 'w.txt'}"]
    support = {"PYTHONPATH": str(Path(everywhere.__file__).parent)}  # the job imports what kills processes
    done = command("run", *given, "-o", "here", cwd=tmp_path, **support)
    assert "wrote 6" in done.stderr
    command("submit", *given, "-o", tmp_path / "there", "--coordinator", cluster.address, cwd=tmp_path, **support)
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")
    failed = command("run", *given[:2], *given[4:], cwd=tmp_path, check=False, **support)
    assert failed.returncode == 1
    assert "ctx.files has no 'stop.txt'; the files that travelled with the job are 'weights'" in failed.stderr


def means(numbers, centres):
    """The reference: means of the numbers that are nearest to each centre."""
    groups = {}
    for number in numbers:
        groups.setdefault(min(range(len(centres)), key=lambda place: abs(centres[place] - number)), []).append(number)
    return {place: sum(group) / len(group) for place, group in groups.items()}


@pytest.mark.parametrize("where", ["tcp", "kills"])
def test_rounds_on_workers_that_stay(tmp_path, cluster, where):
    """Each round of a loop gives the bytes that a run of its own gives, also where a process is killed in a round."""
    numbers = [float(n * n % 101) for n in range(40)]
    (tmp_path / "numbers.txt").write_text("\n".join(map(str, numbers)))
    (tmp_path / "means_job.py").write_text(MEANS_JOB)
    job, graves = str(tmp_path / "means_job.py"), tmp_path / "graves"
    graves.mkdir()
    centres = (1.0, 50.0, 100.0)
    with mapreduce.Cluster(coordinator=cluster.address if where == "tcp" else None) as workers:
        for number in range(3):
            params = {"centres": centres}
            grave = {"grave": str(graves)} if where == "kills" and number == 1 else {}
            out = tmp_path / f"round-{number}"
            result = workers.run(job, tmp_path / "numbers.txt", out, params=params | grave, split_size=40, reducers=2)
            assert dict(result) == means(numbers, centres)
            alone = mapreduce.run(
                job, tmp_path / "numbers.txt", f"{out}-alone", params=params, split_size=40, reducers=2, runner="inline"
            )
            assert bytes_of(out) == bytes_of(alone.output)
            centres = tuple(means(numbers, centres)[place] for place in range(3))
    assert len(list(graves.iterdir())) == (where == "kills")


CELLS = [
    """
import functools, os
import mapreduce
from mapreduce import Job, Sum
@functools.cache
def dear():
    print("loaded")
    return 1
def mapper(line, *, n: int = 0):
    yield line, n + dear()
cluster = mapreduce.Cluster(slots=1)
job = Job(mapper, reducer=Sum())
print(os.getpid())
""",
    "print(dict(cluster.run(job, 'in.txt')))",
    "print(dict(cluster.run(job, 'in.txt', params={'n': 2})))",
    "def mapper(line):\n    yield 'another', 1",
    "print(dict(cluster.run(Job(mapper, reducer=Sum()), 'in.txt')))",
]


def test_a_notebook_keeps_its_workers_from_cell_to_cell(tmp_path):
    """Runs of later cells find what earlier ones have loaded; the workers end with the kernel."""
    (tmp_path / "in.txt").write_text("a line\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    client = NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel(env=environment()):
        for number, cell in enumerate(book.cells):
            client.execute_cell(cell, number)
        outputs = [output for cell in book.cells for output in cell.outputs if output.output_type == "stream"]
        printed = [output.text for output in outputs if output.name == "stdout"]
        workers = children_of(int(printed[0]))
        assert len(workers) >= 3
    assert printed[1:] == ["{'a line': 1}\n", "{'a line': 3}\n", "{'another': 1}\n"]
    assert [output.text for output in outputs if output.name == "stderr"] == ["loaded\n"]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")
