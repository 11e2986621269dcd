"""What travels with a job: its project's sources, its requirements, or a pickle; and what cannot is named."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapreduce.aggregators import Count, Sum
from mapreduce.describe import describe_job
from mapreduce.errors import PackagingError
from mapreduce.job import Job
from mapreduce.plan import TaskOptions
from mapreduce.protocol.plain import unpack
from mapreduce.targets import load_job
from mapreduce.travel.package import Package, Setup, build_package, build_setup, package_of, setup_of

OPTIONS = TaskOptions(job="j", output="/out")
LOCK = threading.Lock()
MAPPER = "def mapper(line):\n    yield line, 1\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Path]:
    """Write a project's files into a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return write


def names(package: Package) -> list[str]:
    return [module.name for module in package.modules]


def test_a_file_brings_the_project_modules_that_it_imports(tree: Any) -> None:
    """Also those imported lazily, by name, or by modules it imports; nothing else of the folder, nothing installed."""
    tree(
        {
            "pk_job.py": MAPPER + "import pk_a\ndef later():\n    import pk_lazy\n    import importlib\n"
            "    importlib.import_module('pk_dynamic')\n    import json, hypothesis\n",
            "pk_a.py": "from pk_b import x\n",
            "pk_b.py": "x = 1\n",
            "pk_lazy.py": "",
            "pk_dynamic.py": "",
            "pk_unused.py": "raise SystemExit\n",
        }
    )
    package = package_of(load_job("pk_job.py"))
    assert names(package) == ["pk_a", "pk_b", "pk_dynamic", "pk_job", "pk_lazy"]
    assert package.requirements == ("hypothesis",)
    assert package.target == ("pk_job", "")
    assert package.job_pickle == b""


def test_optional_and_typing_imports_are_no_requirements(tree: Any) -> None:
    """try/except ImportError, TYPE_CHECKING and a main block may need what a worker does not have."""
    tree(
        {
            "pk_optional.py": MAPPER
            + """
try:
    import hypothesis
except ImportError:
    hypothesis = None
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import mypy
if __name__ == "__main__":
    import pytest
try:
    import not_there_at_all
except ModuleNotFoundError:
    import yaml
"""
        }
    )
    assert package_of(load_job("pk_optional.py")).requirements == ("yaml",)


def test_a_module_of_a_package_brings_the_whole_package(tree: Any) -> None:
    """With sub-packages, folders without __init__.py, and modules that are only imported by computed names."""
    tree(
        {
            "src/pk_shop/__init__.py": "",
            "src/pk_shop/models.py": "",
            "src/pk_shop/deep/plugin.py": "",
            "src/pk_shop/jobs/__init__.py": "",
            "src/pk_shop/jobs/run.py": "from ..models import *\n" + MAPPER,
            "src/pk_shop/not-a-module.py": "",
        }
    )
    package = package_of(load_job("src/pk_shop/jobs/run.py"))
    assert names(package) == [
        "pk_shop",
        "pk_shop.deep.plugin",
        "pk_shop.jobs",
        "pk_shop.jobs.run",
        "pk_shop.models",
    ]
    assert [module.name for module in package.modules if module.is_package] == ["pk_shop", "pk_shop.jobs"]


def test_a_demo_travels_by_name_alone() -> None:
    """Every worker has the engine."""
    package = package_of(load_job("@word_count"))
    assert (package.modules, package.target) == ((), ("mapreduce.demos.word_count", "job"))


def test_a_module_level_job_travels_by_reference(tree: Any) -> None:
    """Given as an object from Python as well, so that lambdas and locks of its module are no trouble."""
    tree(
        {
            "pk_ref.py": """
            import threading
            from mapreduce import Count, Job
            lock = threading.Lock()
            job = Job(lambda line: [(line, lock.locked())], reducer=Count())
            """
        }
    )
    job = load_job("pk_ref.py").job
    assert package_of(job).target == ("pk_ref", "job")


def test_the_bytes_are_the_same_for_the_same_code(tree: Any) -> None:
    """In two processes with different hash seeds, by reference and by value."""
    root = tree({"pk_same.py": "import pk_other\n" + MAPPER, "pk_other.py": ""})
    script = """
        import hashlib
        from mapreduce import Job
        from mapreduce.travel.package import build_package, build_setup
        from mapreduce.plan import TaskOptions
        from mapreduce.targets import load_job
        WORDS = {"a": 1, "b": 2}
        def mapper(line, *, n: int = 3):
            def inner(word):
                return WORDS.get(word, n)
            return [(word, inner(word)) for word in line.split()]
        def reducer(key, values):
            yield key, sum(values)
        for job in (load_job("pk_same.py"), Job(mapper, reducer=reducer)):
            code = build_package(job)
            setup = build_setup({"b": 1, "a": ["x"]}, TaskOptions(job="j", output="/o"), code)
            print(hashlib.sha256(code + setup).hexdigest())
    """
    (root / "main_script.py").write_text(textwrap.dedent(script))
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "main_script.py"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_what_cannot_travel_is_named() -> None:
    """The way from the job to the lock or file is told: globals, closures, attributes, bound objects, parameters."""

    class Holder:
        def __init__(self) -> None:
            self.inner = {"lock": threading.Lock()}

        def mapper(self, line: str) -> list[tuple[str, int]]:
            return [(line, len(self.inner))]

    holder = Holder()
    stream = Path(__file__).open("rb")  # noqa: SIM115 - it must be open to be refused

    def helper() -> Any:
        return stream

    class Mine(Sum):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    cases: list[tuple[Job, list[str]]] = [
        (Job(lambda line: [(line, LOCK)]), ["the mapper", "global `LOCK`", "_thread.lock"]),
        (Job(lambda line: [(line, helper())]), ["variable `helper`", "variable `stream`", "BufferedReader"]),
        (Job(holder.mapper), ["attribute `inner`", "item 'lock'", "_thread.lock"]),
        (Job(lambda k, v: [(k, v)], reducer=Mine()), ["the reducer Mine()", "attribute `lock`"]),
    ]
    for job, words in cases:
        with pytest.raises(PackagingError) as caught:
            build_package(job)
        assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(PackagingError, match=r"the parameter 'n' cannot travel.*lock"):
        setup_of({"n": threading.Lock()}, OPTIONS, b"")
    stream.close()


def test_a_job_made_in_a_function_brings_what_it_uses(tree: Any) -> None:
    """Modules mentioned or lazily imported by functions that travel by value come along, as source."""
    tree({"pk_used.py": "def words(line):\n    return line.split()\n", "pk_lazily.py": "import yaml\n"})
    load_job_from_here = """
import pk_used
from mapreduce import Count, Job
def make():
    def mapper(line):
        import pk_lazily
        return [(word, 1) for word in pk_used.words(line)]
    return Job(mapper, reducer=Count())
job = Job(keys=str.split, reducer=Count())
"""
    tree({"pk_factory.py": load_job_from_here})
    job = load_job("pk_factory.py").module.make()
    package = package_of(job)
    assert package.target is None
    assert names(package) == ["pk_lazily", "pk_used"]
    assert package.requirements == ("yaml",)
    assert [Path(source.path).name for source in package.sources] == ["pk_factory.py"]


def module_level(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def test_functions_of_a_module_travel_as_its_source() -> None:
    """A job made from Python of functions of an importable module, a test's own for one, brings that module."""
    package = package_of(Job(module_level))
    assert package.target is None
    assert names(package) == [__name__]
    assert "hypothesis" not in package.requirements
    assert "pytest" in package.requirements


def test_names_that_cannot_be_the_users_are_refused(tree: Any) -> None:
    """A standard library's name beside a rival file is ambiguous, a module without a file has no source."""
    tree({"pk_rival.py": "import sched\n" + MAPPER, "sched.py": ""})
    with pytest.raises(PackagingError, match=r"imports 'sched'.*sched\.py has the same name: rename yours"):
        build_package(load_job("pk_rival.py"))


def test_too_large_a_job_names_its_largest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data in a variable of a function should be a file."""
    monkeypatch.setattr("mapreduce.travel.package.BLOB_BYTES", 1 << 20)
    table = bytes(2 << 20)

    def mapper(line: str) -> Iterator[tuple[str, int]]:
        yield line, table[0]

    with pytest.raises(
        PackagingError, match="the job's functions with the variables that they use, 2 MB, is the largest"
    ):
        build_package(Job(mapper))


def test_a_package_is_plain_data() -> None:
    """It survives its own bytes."""
    job = Job(keys=str.split, reducer=Count())
    code = build_package(job)
    assert unpack(Package, code) == package_of(job)
    assert unpack(Setup, build_setup({"n": 3}, OPTIONS, code)) == setup_of({"n": 3}, OPTIONS, code)


def test_what_differs_between_runs_is_not_in_the_package(tree: Any) -> None:
    """A type of a parameter brings its module with the setup, unless the code has it; the package stays the same."""
    tree(
        {
            "pk_types.py": "import yaml\nclass Size:\n    n = 3\n",
            "pk_known.py": "class Known:\n    pass\n",
            "pk_runs.py": "import pk_known\n" + MAPPER,
        }
    )
    target = load_job("pk_runs.py")
    code = build_package(target)
    import pk_known  # type: ignore[import-not-found]  # noqa: PLC0415 - written above
    import pk_types  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    held = [setup_of(params, OPTIONS, code) for params in ({"size": pk_types.Size()}, {"size": pk_known.Known()})]
    assert [[module.name for module in setup.modules] for setup in held] == [["pk_types"], []]
    assert [setup.requirements for setup in held] == [("yaml",), ()]
    assert build_package(target) == code


def test_a_job_by_value_has_the_same_bytes_at_each_run() -> None:
    """With classes and what they hold too: or else no worker could keep its processes for the next run."""
    limit = {"a": [1, 2]}

    class Mapper:
        def __call__(self, line: str) -> Iterator[tuple[str, int]]:
            yield line, len(limit)

    job = Job(Mapper, reducer=lambda key, values: [(key, sum(values))])
    first = build_package(job)
    assert {build_package(job) for _ in range(3)} == {first}
    limit["b"] = []
    assert build_package(job) != first


def test_describe_shows_what_a_job_is(tree: Any) -> None:
    """Steps, functions, parameters with types and defaults, options, the code that travels, and what keeps it here."""
    tree(
        {
            "pk_desc.py": '''
            """Counts long words."""
            import yaml
            def mapper(line, *, ctx, min_len: int = 3, stop: str):
                yield line, 1
            def reducer(key, values):
                yield key, sum(values)
            combiner = reducer
            '''
        }
    )
    text = describe_job(load_job("pk_desc.py")).render()
    for words in (
        "pk_desc: Counts long words.",
        "mapper (pk_desc.py:4) takes (value, ctx): gives (key, value) pairs",
        "combiner",
        "-p min_len=  int, default 3",
        "-p stop=  str, must be given",
        "text lines, utf-8 (strict)",
        "pk_desc.py",
        "packages that workers need: yaml",
    ):
        assert words in text
    assert "It cannot run yet: the mapper" in describe_job(Job(lambda line: [(line, LOCK)])).render()
