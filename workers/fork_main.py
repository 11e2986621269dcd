"""The fork server's entry: `python -P -m workers.fork_main FD WORKER NAME`.

Light, so that the garbage collector can be switched off before the dear imports: it would go over tens of thousands of
functions and classes that all stay, which takes a tenth of the time to the first task.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any

SELDOM_USED = ("importlib.metadata",)  # Polars imports this one for tables of a kind that few have, and it is dear
BEGUN = "_mapreduce_begun"  # set in a module that was put off, once it is being imported
TRANSPORT = "zmq"  # task processes fetch with it, from other workers

_importing = threading.RLock()


def main(arguments: list[str], put_off: Sequence[str] = ()) -> int:
    """Import everything, but for what is to be put off until it is used, then serve; give the exit code."""
    gc.disable()
    for name in (*SELDOM_USED, *put_off):
        _put_off(name)
    from workers.fork_server import serve  # noqa: PLC0415 - see above

    gc.freeze()
    gc.enable()
    return serve(arguments)


class _PutOff(types.ModuleType):
    """A module that is imported when something of it is used: the library's own is at the `import` already."""

    def __getattr__(self, name: str) -> Any:
        with _importing:  # other threads wait until it is whole
            if name in vars(self):
                return vars(self)[name]
            if type(self) is not _PutOff or vars(self).get(BEGUN):
                msg = f"module {self.__name__!r} has no attribute {name!r}"
                raise AttributeError(msg)
            vars(self)[BEGUN] = True
            assert self.__loader__ is not None, "it was found with one"
            self.__loader__.exec_module(self)  # type: ignore[attr-defined]
            self.__class__ = types.ModuleType  # type: ignore[assignment]
        return getattr(self, name)


def _put_off(name: str) -> None:
    """Have a module imported when it is first used."""
    found = importlib.util.find_spec(name) if name not in sys.modules else None
    if found is None:
        return
    module = importlib.util.module_from_spec(found)
    module.__class__ = _PutOff
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # all children are gone: tearing the interpreter down would only keep the agent
