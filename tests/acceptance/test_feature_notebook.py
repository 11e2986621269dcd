"""Jobs in a notebook, driven in a real kernel: progress, tables, cells that run again, errors, loops, restarts."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from cluster import wait_for
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

SUPPORT = Path(__file__).parents[1] / "support"
TIMEOUT_S = 60
TEXT = "to be or not to be\nthat is the question\n" * 50

SETUP = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
from everywhere import die_once
import mapreduce
from mapreduce import Job, Sum

def mapper(line, *, ctx, grave: str = ""):
    if ctx.offset == 0:
        print("<said by a task>")
        die_once(grave, "map")
    ctx.counters["<lines>"] += 1
    for word in line.split():
        yield word, 1

words = Job(mapper, reducer=Sum(), name="words")
"""


class Kernel(NotebookClient):
    """A notebook's kernel; `run` executes a cell and keeps all that came, with times."""

    def __init__(self, folder, notebook):
        super().__init__(nbformat.v4.new_notebook(), timeout=TIMEOUT_S, resources={"metadata": {"path": str(folder)}})
        self.seen = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAPREDUCE"))}
        self.started = self.setup_kernel(env={**kept, "JPY_SESSION_NAME": str(folder / notebook)})

    def __enter__(self):
        self.started.__enter__()
        return self

    def __exit__(self, *error):
        self.started.__exit__(*error)

    def process_message(self, msg, cell, cell_index):
        self.seen.append(msg)
        return super().process_message(msg, cell, cell_index)

    def run(self, code):
        """Run a cell; give its outputs as the notebook would keep them."""
        self.seen.clear()
        self.nb.cells.append(nbformat.v4.new_code_cell(code))
        return self.execute_cell(self.nb.cells[-1], len(self.nb.cells) - 1).outputs

    def fail(self, code):
        """Run a cell that must fail; give what it shows of the error."""
        with pytest.raises(CellExecutionError):
            self.run(code)
        (error,) = (output for output in self.nb.cells[-1].outputs if output.output_type == "error")
        return "\n".join(error.traceback)

    def draws(self):
        """When our display was made or updated by the last cell, and what it showed as HTML."""
        kinds = ("display_data", "update_display_data")
        messages = [msg for msg in self.seen if msg["msg_type"] in kinds]
        return [(msg["header"]["date"].timestamp(), msg["content"]["data"]["text/html"]) for msg in messages]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def html_of(outputs, kind):
    (output,) = (output for output in outputs if output.output_type == kind)
    return output.data["text/html"]


def test_cells_run_again_and_show_how_it_goes(folder, cluster):
    """Every runner has its bar and its table; running the cell again replaces its output, also when a task dies."""
    wanted = dict(Counter(TEXT.split()))
    with Kernel(folder, "work.ipynb") as kernel:
        kernel.run(SETUP)
        for options in ("runner='inline'", "slots=1", f"runner='cluster', coordinator={cluster.address!r}"):
            cell = (
                f"result = mapreduce.run(words, 'text.txt', 'out', {options})\nassert dict(result) == {wanted}\nresult"
            )
            outputs = kernel.run(cell)
            assert "words: done in" in html_of(outputs, "display_data"), options
            assert "&lt;lines&gt;" in html_of(outputs, "execute_result")
            assert "<said by a task>" in "".join(o.text for o in outputs if o.output_type == "stream")
            assert "<lines>" not in str([output.get("data") for output in outputs]).replace("text/plain", "")
        (folder / "grave").mkdir()
        kernel.run(f"""
result = mapreduce.run(words, 'text.txt', 'out', params={{"grave": "grave"}}, slots=1)
assert dict(result) == {wanted}
result.warnings""")
        assert [path.name for path in (folder / "grave").iterdir()] == ["map"]
        assert len(list((folder / "out").glob("part-*"))) == 1

        draws = kernel.draws()
        assert "<progress" in draws[0][1]
        assert "<progress" not in draws[-1][1]
        times = [at for at, _ in draws]
        assert all(later - early >= 0.9 for early, later in zip(times, times[5:], strict=False)), times

        outputs = kernel.run("for n in range(9): mapreduce.run(words, 'text.txt', runner='inline')")
        assert html_of(outputs, "display_data").count("words: done in") == 5
        assert "4 earlier runs" in html_of(outputs, "display_data")
        outputs = kernel.run("done = mapreduce.run(words, 'text.txt', runner='inline', progress=False)")
        assert {output.output_type for output in outputs} == {"stream"}  # what the task said, in a piece or two
        assert "<said by a task>" in "".join(output.text for output in outputs)


def test_errors_and_restarts(folder):
    """A failure shows the user's cells and not the engine; a restart stops what runs, and cells may run again then."""
    again = "mapreduce.run({job}, 'text.txt', 'out', runner='inline')"
    with Kernel(folder, "work.ipynb") as kernel:
        kernel.run(SETUP)
        kernel.run(again.format(job="words"))
        shown = kernel.fail("def bad(line):\n    yield line, 1 / 0\nmapreduce.run(Job(bad), 'text.txt', slots=1)")
        assert shown.startswith(
            "Traceback (most recent call last):\n  Cell In[3], line 2, in bad\n    yield line, 1 / 0\n"
        )
        assert "record: 'to be or not to be'" in shown
        assert "The job was run here:\n  Cell In[3], line 3, in <module>\n" in shown
        assert "mapreduce/" not in shown
        assert "bad: failed after" in html_of(kernel.nb.cells[-1].outputs[:1], "display_data")
        shown = kernel.fail("Job(mapper, reducer=3)")
        assert shown.startswith("  Cell In[4], line 1")
        assert "JobDefinitionError: " in shown
        assert "mapreduce/" not in shown
        slow = "import time\nmapreduce.run(Job(lambda line: time.sleep(600)), 'text.txt', 'slow', slots=1)"
        kernel.kc.execute(slow)
        wait_for(lambda: list(folder.glob("slow/_tmp-*/_reserved")), "the reserved folder of a job")
    wait_for(lambda: not (folder / "slow").exists(), "the end of a job whose kernel was stopped")
    with Kernel(folder, "work.ipynb") as kernel:
        kernel.run(SETUP)
        assert "overwrite=True" in kernel.fail(again.format(job="Job(mapper, name='strange')"))
        assert not any("replaces" in str(output) for output in kernel.run(again.format(job="words")))
        kernel.run("__vsc_ipynb_file__ = '/somewhere/copy.ipynb'")
        kernel.run(again.format(job="words"))  # this process's own, by now
        # Then as in another process and another notebook:
        kernel.run("import mapreduce.notebook; mapreduce.notebook._client.cache_clear(); del __vsc_ipynb_file__")
        assert "overwrite=True" in kernel.fail(again.format(job="words"))
        kernel.run(again.format(job="words").replace(")", ", overwrite=True)"))
