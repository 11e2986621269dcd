"""What README and docs show is true: their examples are run as they stand there, in order, by a user's shell."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from pages import BLOCK, NAME, ROOT, readme_before_demos, shell

LINK = re.compile(r"\]\(([^)#:]+)\)")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def check_console(text, folder):
    """Run each command of a block, and compare what it prints with what stands below it."""
    for part in text.split("$ ")[1:]:
        command, _, expected = part.partition("\n")
        assert shell(command, folder) == expected, command


@pytest.mark.parametrize("page", ["writing-jobs.md", "formats.md", "finding-errors.md"])
def test_the_examples_of_a_page_run_as_shown(page, tmp_path):
    """Files are made as named, programs run without an error, and commands print what the page says."""
    ran = 0
    for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        name = NAME.match(text)
        if kind == "console":
            check_console(text, tmp_path)
        elif name:
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        else:
            (tmp_path / "program.py").write_text(text, encoding="utf-8")
            shell("python program.py", tmp_path)
        ran += 1
    assert ran > 3


def test_the_examples_of_the_readme_run(tmp_path):
    """The first job, its command, the job with an aggregator, and the Python program."""
    text = readme_before_demos()
    shutil.copytree(ROOT / "jobs" / "text", tmp_path / "books")
    first, aggregating, program = (block for _, block in BLOCK.findall(text))
    (tmp_path / "word_count.py").write_text(first, encoding="utf-8")
    (command,) = re.findall(r"^    \$ (.*)$", text, re.MULTILINE)
    shell(command, tmp_path)
    counts = (tmp_path / "counts" / "part-00000").read_bytes()
    assert b"\nthe\t73\n" in counts
    (tmp_path / "word_count.py").write_text(aggregating, encoding="utf-8")
    assert shell("mapreduce run word_count.py books", tmp_path).encode() == counts
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    assert shell("python program.py", tmp_path) == "73 {}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_path_of_a_page_leads_somewhere(page):
    """Links to files of the project, and paths of tests and modules in code marks, exist."""
    text = page.read_text(encoding="utf-8")
    named = [*LINK.findall(text)]
    missing = [link for link in named if not (page.parent / link).exists()]
    paths = re.findall(r"`((?:tests|mapreduce|jobs|workers|docs)/[\w/.-]+)`", text)
    assert missing + [path for path in paths if not (ROOT / path).exists()] == []


def test_the_demo_counts_the_standard_library(tmp_path):
    """`make demo` shows the ten most frequent words and where the output is, and can be run again."""
    demo = tmp_path / "demo"
    options = f"BIN='{Path(sys.executable).parent}' DEMO='{demo}'"
    for _ in range(2):
        # -o: the environment is this one, and is not made again
        shown = shell(f"make --no-print-directory -s -o .venv/.ready demo {options}", ROOT)
    head, *lines, foot = shown.splitlines()
    counts = [int(line.split("\t")[1]) for line in lines]
    assert sysconfig.get_path("stdlib") in head
    assert len(counts) == 10
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 1000
    assert str(demo) in foot
