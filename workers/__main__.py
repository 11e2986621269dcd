"""`python -P -m workers` is `python -P -m workers.agent`."""

from __future__ import annotations

import sys

from workers.agent import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
