"""Records that kill modelled task processes: the same ones of a task in every process, wherever it runs."""

import zlib
from dataclasses import replace

from mapreduce.dataflow.bad.care import PARTS
from mapreduce.plan import TaskKind
from workers.killers import Mark

BATCH = 64  # records of a batch, where a task has batches
KIND = "killed the process: SIGSEGV"


def killers_of(task):
    """The ordinals of the records of a task that kill whoever sees them."""
    roll = zlib.crc32(repr(task).encode())
    if task.kind is TaskKind.COMMIT or roll % 3:
        return []
    return sorted({roll % 50, 60 + roll % 40} if roll % 2 else {roll % 100})


def killed_at(order):
    """What a process that has this order dies of: its last note, None without care; False where nothing kills it."""
    task = order.attempt.task
    left = [ordinal for ordinal in killers_of(task) if ordinal not in order.skip]
    if not left:
        return False
    if not order.careful:
        return None
    ordinal, start, size = left[0], 0, 1
    if task.index % 2:
        start, size = ordinal - ordinal % BATCH, BATCH
    while size > 1 and (start, size) in order.alone:
        size = -(-size // PARTS)
        start = ordinal - (ordinal - start) % size
    return Mark(ordinal if size == 1 else start, size)


def with_bad(order, done):
    """What a process has made that survived its order; of one that cut batches, with counts that nobody may see."""
    made = replace(done, bad={KIND: len(order.skip)} if order.skip else {})
    assert not order.skip or order.skip.keys() == set(killers_of(order.attempt.task)), "a good record is put aside"
    return replace(made, counters={"tasks": 1000}) if order.alone else made
