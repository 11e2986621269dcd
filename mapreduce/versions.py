"""The versions that a worker and its coordinator must share. Light: Polars is asked of its metadata, never loaded."""

from __future__ import annotations

import sys
from importlib import metadata


def own_versions() -> dict[str, str]:
    """Give the versions of Python (major and minor), of this engine and of Polars, by these names."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "engine": metadata.version("mapreduce-engine"),
        "polars": metadata.version("polars"),
    }
