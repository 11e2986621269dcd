"""Which store a URL belongs to, and the driver that it needs: the one door to stores."""

from __future__ import annotations

import functools
import importlib.util
import os
from urllib.parse import urlsplit

from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.extras import EXTRAS, MODULES, missing_driver
from mapreduce.dataflow.stores.store import Store
from mapreduce.errors import StoreError
from mapreduce.urls import WEB, scheme_of


def store_of(url: str) -> Store:
    """The store that has a URL. Raises StoreError where its driver is missing or cannot be set up."""
    scheme = scheme_of(url)
    shared = scheme in WEB or EXTRAS.get(scheme) == "s3"  # whatever stands after the slashes
    return _store(scheme, "" if shared else urlsplit(url).netloc)


@functools.cache
def _store(scheme: str, place: str) -> Store:
    """Made once in a process: a driver keeps its connections. `place` is the host or account, where it counts."""
    if scheme in WEB:
        from mapreduce.dataflow.stores.web import HttpStore  # noqa: PLC0415 - only for those who need it

        return HttpStore()
    extra = EXTRAS.get(scheme)
    if importlib.util.find_spec("fsspec") is None or (extra and importlib.util.find_spec(MODULES[extra]) is None):
        raise StoreError(missing_driver(scheme))
    if extra == "s3":
        from mapreduce.dataflow.stores.s3 import S3Store  # noqa: PLC0415 - as above

        return S3Store(scheme)
    return FsspecStore(scheme, place)


def forget_stores() -> None:
    """Set drivers up again when they are needed: for programs that change how they are set up."""
    _store.cache_clear()


os.register_at_fork(after_in_child=forget_stores)  # drivers cannot be used on both sides of a fork
