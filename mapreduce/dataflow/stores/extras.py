"""Which extra of our distribution brings the driver of a scheme."""

from __future__ import annotations

EXTRAS = {  # of our distribution, that bring the driver of a scheme
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "hdfs": "hdfs",
}


MODULES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "hdfs": "pyarrow"}  # that an extra brings


def missing_driver(scheme: str) -> str:
    """What to install for a scheme."""
    extra = EXTRAS.get(scheme)
    if extra is None:
        return (
            f"there is no driver for {scheme}:// URLs: install fsspec and the package that serves them, here and on "
            "every worker"
        )
    return (
        f"{scheme}:// URLs need the package {MODULES[extra]}: pip install 'mapreduce-engine[{extra}]', here and on "
        "every worker"
    )
