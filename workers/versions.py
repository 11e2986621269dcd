"""The versions that a worker and its coordinator must share."""

from __future__ import annotations

import sys
from importlib import metadata


def own_versions() -> dict[str, str]:
    """Versions of Python, of this engine and of Polars, named as the coordinator names them; Polars isn't imported."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "engine": metadata.version("mapreduce-engine"),
        "polars": metadata.version("polars"),
    }
