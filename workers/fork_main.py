"""The fork server's entry: `python -P -m workers.fork_main FD WORKER NAME`.

Light, so that the garbage collector can be switched off before the dear imports: it would go over tens of thousands of
functions and classes that all stay, which takes a tenth of the time to the first task.
"""

from __future__ import annotations

import gc
import os
import sys


def main(arguments: list[str]) -> int:
    """Import everything, then serve; give the exit code."""
    gc.disable()
    from workers.fork_server import serve  # noqa: PLC0415 - see above

    gc.enable()
    return serve(arguments)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # all children are gone: tearing the interpreter down would only keep the agent
