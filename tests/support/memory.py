"""The peaks of memory of all processes below one, sampled from /proc while they run; and text to fill memory with."""

import itertools
import random
import re
import threading
from pathlib import Path

from cluster import children_of

SAMPLE_S = 0.05  # VmHWM is a peak by itself: a sample can miss only what a process takes in its last moments
MB = 1 << 20


class PeakSampler:
    """Within `with`, watches every descendant of a process; `peaks` is then process id -> (name, peak in bytes)."""

    def __init__(self, pid):
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peaks = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()

    def _sample(self):
        while not self._over.wait(SAMPLE_S):
            for child in children_of(self._pid):
                try:
                    text = Path(f"/proc/{child}/status").read_text(encoding="utf-8")
                except OSError:  # it has ended since
                    continue
                name, peak = re.search(r"Name:\s+(.*)", text), re.search(r"VmHWM:\s+(\d+) kB", text)
                if peak:  # a zombie has none
                    self.peaks[child] = (name.group(1), int(peak.group(1)) << 10)


def write_text(folder, size):
    """Text with a vocabulary like that of a language, some 40 MB a second; a word of its own in each file."""
    chance = random.Random(20)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(4, 20))) for _ in range(150_000)]
    zipf = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    drawn = chance.choices(words, cum_weights=zipf, k=400_000)
    lines = [" ".join(drawn[start : start + 12]) for start in range(0, len(drawn), 12)]
    written = 0
    for number in itertools.count():
        if written >= size:
            return
        chance.shuffle(lines)
        path = folder / f"{number:03}.txt"
        written += path.write_text(f"\nonly{number} ".join(lines), encoding="ascii")
