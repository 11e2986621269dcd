"""From sources to slices: which map task made each, and what of it a reduce task reads."""

import pytest

from mapreduce.dataflow.columns import make_batch, records_of
from mapreduce.dataflow.shuffle.block_file import read_blocks, read_index
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.plan import AttemptId, Done, Limits, TaskId, TaskKind, run_file_name
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Results, Source
from workers.shuffle_fetch import FetchMachine, Wanted
from workers.shuffle_messages import SliceReply, SliceRequest
from workers.shuffle_server import ShuffleServer
from workers.task_sources import Sources

LIMITS = Limits(sort_buffer=4000, block=300)
PARTITIONS = 3


def written(folder, points):
    """Two map tasks' runs, several each, told to a process of the worker that has them; gives it and what they did."""
    (folder / "job").mkdir()
    sources, dones = Sources("w"), []
    for index in (4, 7):
        attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, index), 2)
        buffer = SortBuffer(
            folder / "job",
            lambda spill, attempt=attempt: run_file_name(attempt, spill),
            partitions=PARTITIONS,
            limits=LIMITS,
            points=points,
        )
        for number in range(40):
            keys = [(number * 10 + i) * 7 % 401 + index * 1000 for i in range(10)]
            buffer.add(make_batch(keys, [index] * 10))
        runs = buffer.finish()
        assert runs.count > 1
        done = Done(runs=runs.count, digests=runs.digests, bounds=runs.bounds)
        dones.append((attempt, done))
        sources.add(plain.pack(Results("job", 0, True, (Source(attempt, "w", "", "", done),))))
    return sources, dones


@pytest.mark.parametrize("points", [0, 60])
def test_slices_know_their_map_task_and_cover_everything(tmp_path, points):
    """Slices come by map task and run, each with the number of its task; all partitions together are all records."""
    sources, dones = written(tmp_path, points)
    keys = []
    for partition in range(PARTITIONS):
        slices = sources.run_slices(0, partition, PARTITIONS, tmp_path / "job", tmp_path / "fetched")
        assert [part.map_index for part in slices] == [
            attempt.task.index for attempt, done in dones for _ in range(done.runs)
        ]
        for part in slices:
            pairs = [pair for batch in read_blocks(part) for pair in records_of(batch)]
            assert {value for _, value in pairs} <= {part.map_index}
            assert part.relocated("elsewhere").map_index == part.map_index
            keys += [key for key, _ in pairs]
    assert len(keys) == 800
    if points:
        assert keys != sorted(keys)  # run by run
        assert len(set(keys[:200]) & set(keys[-200:])) == 0


def test_a_server_gives_the_blocks_of_a_range_only(tmp_path):
    """What another worker fetches of a run are the blocks that overlap its range, in a slice that knows the range."""
    _, dones = written(tmp_path, 60)
    (attempt, done), _ = dones
    bounds = [done.bounds for _, done in dones]
    server = ShuffleServer(tmp_path)
    path = tmp_path / "job" / run_file_name(attempt, 0)
    whole = read_index(path).slice(0)
    asked = 0
    for partition in range(PARTITIONS):
        share = share_of(partition, PARTITIONS, bounds)
        request = SliceRequest(1, attempt, 0, share.partition, share.low, share.high)
        machine = FetchMachine([Wanted(0, "tcp://a:1", request)], "/local")
        machine.tick(0.0)
        reply = server.answer(request)
        assert isinstance(reply, SliceReply)
        machine.answer("tcp://a:1", reply, 0.0)
        found = machine.slices[0]
        assert (found.low, found.high, found.producer) == (share.low, share.high, attempt)
        asked += len(found.blocks)
    assert len(whole.blocks) > 4
    assert asked <= len(whole.blocks) + PARTITIONS - 1
    assert done.runs > 1
