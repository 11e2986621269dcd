"""A real user's project runs in a process that has none of it, from another folder, with tracebacks that show lines.

Each case packs a job in one fresh process and loads it in another, `python -P`, as task processes are started.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2]

PACK = """
import sys
from pathlib import Path
from mapreduce.travel.package import build_package
from mapreduce.targets import load_job
data = build_package(load_job(sys.argv[1]))
Path(sys.argv[2]).write_bytes(data)
"""

# What a task process does with a package, in a few lines: map a record, pass a value over a border, reduce.
RUN = """
import sys, pickle
from pathlib import Path
from mapreduce.travel.loader import LoadedCode
from mapreduce.tracebacks import user_traceback
plan = LoadedCode(Path(sys.argv[1]).read_bytes()).job.resolved[0]
mapper = plan.mapper.bind({}, None)
try:
    pairs = [(key, pickle.dumps(value)) for line in sys.argv[2:] for key, value in mapper(line)]
    reducer = plan.reducer.bind({}, None)
    for key in sorted({key for key, _ in pairs}):
        for out in reducer(key, (pickle.loads(value) for other, value in pairs if other == key)):
            print(*out)
except ValueError as error:
    print(user_traceback(error))
"""

PROJECT = {
    "app/shop/__init__.py": '"""A shop."""\nfrom .models import Sale\n',
    "app/shop/models.py": """
        from __future__ import annotations
        import dataclasses
        import threading

        LOCK = threading.Lock()

        @dataclasses.dataclass(frozen=True)
        class Sale:
            item: str
            price: float
        """,
    "app/shop/parse.py": """
        def fields(line):
            item, _, price = line.partition("=")
            return item, price
        """,
    "app/shop/late.py": """
        def total(sales):
            return sum(sale.price for sale in sales)
        """,
    "app/shop/jobs/__init__.py": "",
    "app/shop/jobs/turnover.py": """
        from .. import Sale
        from ..models import LOCK
        from ..parse import fields

        def mapper(line):
            item, price = fields(line)
            with LOCK:
                yield item, Sale(item, float(price))

        def reducer(item, sales):
            from shop.late import total
            held = list(sales)
            assert all(isinstance(sale, Sale) for sale in held)
            yield item, total(held)
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write the project's files; give its folder."""
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    return tmp_path


def python(*arguments: str, cwd: Path, code: str = "") -> str:
    """Run a fresh Python that has the engine and nothing else of ours; give what it printed."""
    script = ["-c", f"import sys; sys.path.append({str(ENGINE)!r})\n{code}"] if code else []
    done = subprocess.run(
        [sys.executable, "-P", *script, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def away(tmp_path: Path) -> Path:
    """Give an empty folder to run in."""
    folder = tmp_path / "away"
    folder.mkdir(exist_ok=True)
    return folder


def travel(target: str, *lines: str, cwd: Path, tmp_path: Path, hide: Path | None = None) -> str:
    """Pack a job in `cwd`, move the project away (so that nothing of it can be found), load and run it elsewhere."""
    package = tmp_path / "package.bin"
    python(target, str(package), cwd=cwd, code=PACK)
    if hide is not None:
        hide.rename(tmp_path / "hidden")
    return python(str(package), *lines, cwd=away(tmp_path), code=RUN)


def test_a_package_with_relative_and_lazy_imports_a_dataclass_and_a_lock(project: Path, tmp_path: Path) -> None:
    """The project is gone when the job runs: everything came along, and classes are the same on both sides."""
    printed = travel(
        "app/shop/jobs/turnover.py",
        "tea=2.5",
        "pot=20",
        "tea=1.5",
        cwd=project,
        tmp_path=tmp_path,
        hide=project / "app",
    )
    assert printed == "pot 20.0\ntea 4.0\n"


def test_a_dotted_module_travels_as_well(project: Path, tmp_path: Path) -> None:
    """From the folder where `python -m` would find it."""
    printed = travel("shop.jobs.turnover", "tea=2", cwd=project / "app", tmp_path=tmp_path, hide=project / "app")
    assert printed == "tea 2.0\n"


def test_tracebacks_show_the_source_lines(project: Path, tmp_path: Path) -> None:
    """Also where the file is not there, and the text is the client's even if another file lies at that path."""
    job = project / "app" / "shop" / "jobs" / "turnover.py"
    package = tmp_path / "package.bin"
    python(str(job), str(package), cwd=project, code=PACK)
    job.write_text("other = 'text'\n" * 50)
    printed = python(str(package), "tea=much", cwd=away(tmp_path), code=RUN)
    assert f'File "{job}", line 8, in mapper' in printed
    assert "yield item, Sale(item, float(price))" in printed
    assert "could not convert string to float: 'much'" in printed
    assert "other" not in printed


def test_rival_names_in_the_current_folder_harm_nobody(tmp_path: Path) -> None:
    """A user's workers.py travels and is theirs, also where ours is loaded; jobs/ and queue.py stay where they are."""
    folder = tmp_path / "rival"
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs" / "__init__.py").write_text("raise RuntimeError('never import me')\n")
    (folder / "queue.py").write_text("raise RuntimeError('never import me')\n")
    (folder / "mapreduce_helper.py").write_text("")
    (folder / "workers.py").write_text("def staff(line):\n    return line.split()\n")
    (folder / "count.py").write_text(
        "import workers\n"
        "def mapper(line):\n    for name in workers.staff(line):\n        yield name, 1\n"
        "def reducer(name, ones):\n    yield name, sum(ones)\n"
    )
    package = tmp_path / "package.bin"
    python("count.py", str(package), cwd=folder, code=PACK)
    with_ours = "import workers as ours\n" + RUN + "assert sys.modules['workers'] is not ours\n"
    assert python(str(package), "ann bob ann", cwd=folder, code=with_ours) == "ann 2\nbob 1\n"


def test_a_notebooks_functions_and_classes_travel_by_value(tmp_path: Path) -> None:
    """Cells in __main__, with a dataclass as value, sibling modules, and source lines in the traceback."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    (folder / "nb_helper.py").write_text("def clean(word):\n    return word.lower()\n")
    notebook = """
import sys, linecache
sys.path.insert(0, ".")
from pathlib import Path
from mapreduce import Job
from mapreduce.travel.package import build_package
def cell(number, text):
    name = f"<ipython-input-{number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), globals())
cell(1, '''import dataclasses
import nb_helper
LIMIT = 3
@dataclasses.dataclass
class Word:
    text: str
    count: int = 1
    def longer(self):
        return Word(self.text + "!", self.count)
''')
cell(2, '''def mapper(line):
    for word in line.split():
        if len(word) > LIMIT:
            raise ValueError(f"too long: {word}")
        yield nb_helper.clean(word), Word(word).longer()
def reducer(key, words):
    words = list(words)
    assert all(isinstance(word, Word) for word in words)
    yield key, sum(word.count for word in words)
''')
data = build_package(Job(mapper, reducer=reducer))
Path(sys.argv[1]).write_bytes(data)
"""
    package = tmp_path / "package.bin"
    python(str(package), cwd=folder, code=notebook)
    (folder / "nb_helper.py").unlink()
    assert python(str(package), "A a", "b", cwd=away(tmp_path), code=RUN) == "a 2\nb 1\n"
    printed = python(str(package), "letters", cwd=away(tmp_path), code=RUN)
    assert 'File "<ipython-input-2>", line 4, in mapper' in printed
    assert 'raise ValueError(f"too long: {word}")' in printed


def test_a_script_that_runs_its_own_functions_travels_by_value(tmp_path: Path) -> None:
    """`python script.py` with functions and a lazy sibling import; the script itself is not run again."""
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "sc_helper.py").write_text("def twice(n):\n    return 2 * n\n")
    script = folder / "my_script.py"
    script.write_text(
        f"import sys\nsys.path.append({str(ENGINE)!r})\n"
        + textwrap.dedent(
            """
            from pathlib import Path
            from mapreduce import Job
            from mapreduce.travel.package import build_package

            def mapper(line):
                import sc_helper
                yield line, sc_helper.twice(len(line))

            def reducer(key, values):
                yield key, sum(values)

            print("the script runs")
            data = build_package(Job(mapper, reducer=reducer))
            Path(sys.argv[1]).write_bytes(data)
            """
        )
    )
    package = tmp_path / "package.bin"
    done = subprocess.run([sys.executable, str(script), str(package)], capture_output=True, text=True, check=False)
    assert done.stdout == "the script runs\n", done.stderr
    folder.rename(tmp_path / "hidden")
    assert python(str(package), "abc", "abc", cwd=away(tmp_path), code=RUN) == "abc 12\n"


def test_importing_the_engine_is_light() -> None:
    """A job's module imports names of ours: neither that nor loading it brings in what is slow to import."""
    code = (
        "import mapreduce; mapreduce.Job; mapreduce.Count; import mapreduce.targets as t; t.load_job('@word_count')\n"
        "print(sorted({'polars', 'numpy', 'zmq', 'click', 'cloudpickle', 'msgpack'} & set(sys.modules)))"
    )
    assert python(cwd=ENGINE, code=code) == "[]\n"
