"""The table: what is run on which input, beside what, and how much of the peer's time the engine may take."""

import dataclasses
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import digests, inputs

HERE = Path(__file__).parent
MB = 1 << 20
FRAMEWORKS = ("Spark RDD", "Dask bag", "mrjob local")  # to take more than three times as long, in all rows but one
FRAMEWORK_BOUND = 0.30


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a contestant's command is made of."""

    folder: Path  # of the input
    output: Path  # a file or a folder, not there yet
    slots: int

    def files(self, *folders):
        """The files of the input, in order, of some of its folders only."""
        tops = [self.folder / name for name in folders] or [self.folder]
        return [path for top in tops for path in sorted(top.iterdir()) if path.name[0] != "_"]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A program. `needs` are modules and programs; `turns`, where it is given, bounds how often it is timed."""

    name: str
    command: Callable[[Asked], list]
    needs: tuple[str, ...] = ()
    quick: bool = True  # part of a quick run
    turns: int | None = None

    def missing(self):
        """What keeps it from running here, or ""."""
        for name in self.needs:
            if not (importlib.util.find_spec(name) or shutil.which(name)):
                return f"{name} is not installed"
        return ""


@dataclasses.dataclass(frozen=True)
class Bound:
    """The most that the contestant's seconds may be of the peer's."""

    contestant: str
    peer: str
    at_most: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A contest. `made` makes the input; `full` and `quick` are its sizes; `absent` says why a peer has no program."""

    name: str
    title: str
    made: Callable
    full: dict
    quick: dict
    contestants: list[Contestant]
    bounds: list[Bound]
    digest: Callable
    own_texts: bool = False  # the user's own text can take the place of the input
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    memory_mb: int | None = None  # the most that all processes of the engine's job may have together
    limits: str = ""  # where a bound is not met, what limits the engine

    def all_bounds(self):
        """Its own bounds, and those against the frameworks."""
        names = [contestant.name for contestant in self.contestants]
        engines = [name for name in names if name.startswith("engine")] if self.name != "small" else []
        rest = [Bound(name, peer, FRAMEWORK_BOUND) for name in engines for peer in FRAMEWORKS if peer in names]
        known = {(bound.contestant, bound.peer) for bound in self.bounds}
        return [*self.bounds, *(bound for bound in rest if (bound.contestant, bound.peer) not in known)]


def engine(job, *options, named=()):
    """A job of the command line."""

    def command(asked):
        given = [f"{name}={asked.folder / name}" for name in named] or [asked.folder]
        run = [sys.executable, "-P", "-m", "mapreduce", "run", "-j", asked.slots, "-o", asked.output, *options]
        return [*run, HERE / "jobs" / job, *given]

    return command


def program(path, *works, folders=()):
    """A program of ours: a peer, or a job that is a program."""

    def command(asked):
        given = [*works, *asked.files(*folders), asked.output]
        return [sys.executable, HERE / path, *given, "--processes", asked.slots]

    return command


def mrjob(script, runner, *folders):
    """One of mrjob's jobs."""

    def command(asked):
        run = [sys.executable, HERE / "peers" / script, "-r", runner, "--no-conf", "--output-dir", asked.output]
        return [*run, *asked.files(*folders)]

    return command


def gnu_sort(asked):
    """Two threads, and the memory that the engine's job may have; whole lines, which is the order of their keys."""
    limits = [f"--parallel={asked.slots}", "-S", "900M", "-o", asked.output]
    return ["env", "LC_ALL=C", "sort", *limits, *asked.files()]


def frameworks(work, *names, folders=(), once=()):
    """The peers that do a work by one program each; those of `once` are timed in one turn alone."""
    spark = ("pyspark", "java")

    def one(name, path, *needs, quick=True):
        return Contestant(name, program(path, work, folders=folders), needs, quick, turns(name))

    def turns(name):
        return 1 if name in once else None

    found = [
        one("Polars streaming", "peers/polars_streaming.py"),
        one("DuckDB", "peers/duckdb_sql.py", "duckdb"),
        one("Spark DataFrame", "peers/spark_frames.py", *spark, quick=False),
        one("Spark RDD", "peers/spark_rdd.py", *spark, quick=False),
        one("Dask bag", "peers/dask_bag.py", "dask", quick=False),
        Contestant(
            "mrjob local", mrjob(f"mrjob_{work}.py", "local", *folders), ("mrjob",), False, turns("mrjob local")
        ),
    ]
    return [contestant for contestant in found if contestant.name in names]


BY_HAND = "by hand, multiprocessing"
LARGE_SPLITS = ("--split-size", "64MB")  # of jobs on columns: Polars is through with the default's 16 MB in 0.1 s
COUNTS = [
    Contestant(BY_HAND, program("peers/by_hand_word_count.py")),
    Contestant("engine, keys and Count()", engine("word_count_keys.py")),
    Contestant("engine, pairs and Sum()", engine("word_count_pairs.py")),
    Contestant("engine, reducer and combiner", engine("word_count_functions.py")),
    Contestant("engine, frames", engine("word_count_frames.py", *LARGE_SPLITS)),
    *frameworks("word_count", "Polars streaming", "DuckDB", "Spark DataFrame", "Spark RDD", "Dask bag"),
    Contestant("Ray core", program("peers/ray_core.py"), ("ray",), quick=False),
]
MINUTES = ("mrjob local",)  # it takes minutes a turn
PER_WORD = """What limits the engine: with functions that yield pairs, nearly all of its time goes into making a str of
each word (`str.split`) and one look into a dict for each, as in the program by hand and in Dask bag. So the program
by hand itself takes two thirds of the time of Dask bag, and a third is out of reach. `keys=str.split` is no function of
the user's: the engine knows what it does, and counts columns of words, as it does in frames. Of the second that frames
take longer than Polars alone, the start of the engine's processes is about half, as a job over 1 MB shows."""
PER_PAIR = """What limits the engine: making a str of each word, counting it, and the user's reducer, which counts and
sorts the names of each word. All of it is the work of the program by hand as well, to which all names are one object,
so that its processes hand a name on in two bytes. The engine counts equal pairs on their way and writes each once with
its number; the reducer still gets every one of them."""
PER_RECORD = """What limits the engine: memory is copied from step to step. In a record's 1.3 us of CPU, packing it into
runs, writing these and reading them back is 0.4, its way into lines of text 0.1, and the rest reading, two sorts, and
gathering what they have put in order."""
PER_LINE = """What limits the engine: with lines, a generator is made, run and freed for each line, which takes 0.5 to
0.6 us in one process, where the loop of the program by hand takes 0.4 for all that it does; then the pair goes into
columns. With frames, a row takes some 60 ns to be read as CSV, 20 to become a number, 40 to be grouped by the station's
name, and 20 to be folded for three aggregators; Polars does it in one pass over both columns, in some 110 ns in all."""
ALL = ("Polars streaming", "DuckDB", "Spark DataFrame", "Spark RDD", "Dask bag", "mrjob local")

ROWS = [
    Row(
        "word_count",
        "word count",
        inputs.texts,
        {"size": 312_000_000, "files": 8},
        {"size": 16_000_000, "files": 8},
        [*COUNTS, *frameworks("word_count", "mrjob local", once=MINUTES)],
        [
            Bound("engine, keys and Count()", BY_HAND, 0.80),
            Bound("engine, pairs and Sum()", BY_HAND, 1.10),
            Bound("engine, reducer and combiner", BY_HAND, 1.30),
            Bound("engine, frames", "Polars streaming", 1.25),
        ],
        digests.of_lines,
        own_texts=True,
        limits=PER_WORD,
    ),
    Row(
        "many_keys",
        "word count, 2 million distinct keys",
        inputs.many_keys,
        {"size": 312_000_000, "files": 8, "keys": 2_000_000},
        {"size": 10_000_000, "files": 8, "keys": 200_000},
        [
            Contestant(BY_HAND, program("peers/by_hand_word_count.py")),
            Contestant("engine, keys and Count()", engine("word_count_keys.py")),
            *frameworks("word_count", *ALL, once=MINUTES),
        ],
        [Bound("engine, keys and Count()", BY_HAND, 0.90)],
        digests.of_lines,
    ),
    Row(
        "inverted_index",
        "inverted index, no combiner",
        inputs.texts,
        {"size": 155_000_000, "files": 32},
        {"size": 6_000_000, "files": 8},
        [
            Contestant(BY_HAND, program("peers/by_hand_inverted_index.py")),
            Contestant("engine", engine("inverted_index.py")),
            *frameworks("inverted_index", "Spark RDD", "Dask bag", "mrjob local", once=("Dask bag", "mrjob local")),
        ],
        [Bound("engine", BY_HAND, 0.65)],
        digests.of_lines,
        own_texts=True,
        limits=PER_PAIR,
    ),
    Row(
        "terasort",
        "TeraSort, records of 100 bytes",
        inputs.sort_records,
        {"records": 10_000_000},
        {"records": 200_000},
        [
            Contestant("GNU sort", gnu_sort, ("sort",)),
            Contestant("engine", engine("terasort.py", *LARGE_SPLITS)),
            *frameworks("terasort", "Polars streaming", "DuckDB", "Spark DataFrame", "Spark RDD"),
        ],
        [Bound("engine", "GNU sort", 0.50)],
        digests.of_sorted,
        absent={"Dask bag": "a bag has no sort", "mrjob local": "it has no total order over several reducers"},
        memory_mb=1000,
        limits=PER_RECORD,
    ),
    Row(
        "measurements",
        "One Billion Row Challenge",
        inputs.measurements,
        {"rows": 100_000_000},
        {"rows": 500_000},
        [
            Contestant(BY_HAND, program("peers/by_hand_measurements.py")),
            Contestant("engine, lines", engine("measurements.py")),
            Contestant("engine, frames", engine("measurements_frames.py", *LARGE_SPLITS)),
            *frameworks("measurements", *ALL, once=MINUTES),
        ],
        [Bound("engine, lines", BY_HAND, 1.0), Bound("engine, frames", "Polars streaming", 1.25)],
        digests.of_numbers,
        limits=PER_LINE,
    ),
    Row(
        "join",
        "join with 100,000 rows, Python mappers",
        inputs.orders,
        {"rows": 10_000_000},
        {"rows": 200_000},
        [
            Contestant(BY_HAND, program("peers/by_hand_join.py", folders=("orders", "users"))),
            Contestant("engine", engine("join.py", named=("orders", "users"))),
            *frameworks("join", *ALL, folders=("orders", "users"), once=MINUTES),
        ],
        [Bound("engine", "Spark RDD", 0.35)],
        digests.of_lines,
    ),
    Row(
        "k_means",
        f"k-means, {inputs.ROUNDS} rounds, numpy batches",
        inputs.points,
        {"rows": 1_000_000, "files": 8},
        {"rows": 80_000, "files": 8},
        [
            Contestant(BY_HAND, program("peers/by_hand_k_means.py")),
            Contestant("engine", program("jobs/k_means.py")),
            *frameworks("k_means", "Spark RDD"),
        ],
        [Bound("engine", "Spark RDD", 0.30)],
        digests.of_numbers,
        absent={
            "Dask bag": "a bag is made of Python objects; Dask's arrays are another thing",
            "mrjob local": "each round would write all points as lines of JSON",
        },
    ),
    Row(
        "small",
        "1 MB word count, prompt to prompt",
        inputs.texts,
        {"size": 1_000_000, "files": 1},
        {"size": 1_000_000, "files": 1},
        [
            Contestant("mrjob inline", mrjob("mrjob_word_count.py", "inline"), ("mrjob",)),
            *(contestant for contestant in COUNTS if contestant.name in (BY_HAND, "engine, keys and Count()")),
            *frameworks("word_count", *ALL),
            Contestant("Ray core", program("peers/ray_core.py"), ("ray",), quick=False),
        ],
        [Bound("engine, keys and Count()", "mrjob inline", 0.45)],
        digests.of_lines,
        own_texts=True,
    ),
]
