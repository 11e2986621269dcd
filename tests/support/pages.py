"""Runs what a page shows: files are made as named in it, commands are run by a user's shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\w+\.py)\n")


def shell(command, folder, **variables):
    """Run a line as a user's shell would, with this Python's commands in front; gives stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAPREDUCE"))}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**kept, "PATH": path, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def readme_before_demos():
    """The README up to its section of demos, which have tests of their own."""
    return (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Demos\n")[0]


def demo_of_readme(title):
    """The text of a demo's section in the README, from its heading, which begins with `title`, to the next heading."""
    demos = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Demos\n")[2].partition("\n## ")[0]
    (section,) = [part for part in demos.split("\n### ")[1:] if part.startswith(title)]
    return section


def run_blocks(text, folder, **variables):
    """Make the files and run the commands of a section, in order; gives (command, what it printed, what is shown).

    A command that sets a variable, NAME=..., holds for those after it; a variable that is given here stays as it is.
    """
    ran = []
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            (folder / NAME.match(block)[1]).write_text(block, encoding="utf-8")
            continue
        for part in block.split("$ ")[1:]:
            command, _, shown = part.partition("\n")
            variable = re.match(r"([A-Z]+)=(.*)", command)
            if variable:
                variables.setdefault(variable[1], shell(f'printf %s "{variable[2]}"', folder))
            else:
                ran.append((command, shell(command, folder, **variables), shown))
    return ran
