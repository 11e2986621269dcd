"""What a run was made with: the day, and the commit."""

import datetime as dt
import re
import shutil
import subprocess
from pathlib import Path


def first_line(command, pattern):
    """What a program says of its version, or None without it."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found and found.group(1)


def commit():
    """The commit of this folder, None if it is no clone."""
    return first_line(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"], r"\A(\w+)\s*\Z")


def today():
    """The day, as text, in UTC."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def moment():
    """The day and the commit: rows that take hours need not all be run on one."""
    found = commit()
    return f"{today()}, commit {found}" if found else today()
