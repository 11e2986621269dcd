"""A Spark session on this machine alone, with as much memory as a careful user would give it."""

import os
import sys
import tempfile

from pyspark.sql import SparkSession


def session(processes):
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else its workers are whatever python3 is first in PATH
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master(f"local[{processes}]").appName("benchmark")
    builder = builder.config("spark.driver.memory", "4g").config("spark.local.dir", tempfile.gettempdir())
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.ui.enabled", "false")
    return builder.getOrCreate()
