"""The peak memory of every process of a job over much text: by default an inverted index of 2 GB with 4 reducers.

python benchmarks/memory.py [MEGABYTES] [JOB] [SLOTS]

Writes the text below TMPDIR, runs the job, prints each process's peak, and removes the text. Exits with 1 if a process
took 600 MB or more.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from memory import MB, PeakSampler, write_text

PROMISED_MB = 600


def main():
    size, job, slots = [*sys.argv[1:], *("2000", "@inverted_index", "2")[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts"
        texts.mkdir()
        write_text(texts, int(size) * MB)
        command = [sys.executable, "-P", "-m", "mapreduce", "run", job, str(texts), "-o", str(Path(folder) / "out")]
        begin_s = time.monotonic()
        with PeakSampler(os.getpid()) as sampler:
            code = subprocess.run([*command, "--reducers", "4", "-j", slots], check=False).returncode
        took_s = time.monotonic() - begin_s
    peaks = sorted((peak // MB for _, peak in sampler.peaks.values()), reverse=True)
    print(f"{size} MB, {job}, {slots} slots: {took_s:.0f} s; peaks of its processes in MB: {peaks}")
    return code or int(peaks[0] >= PROMISED_MB)


if __name__ == "__main__":
    sys.exit(main())
