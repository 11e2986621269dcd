"""From sources to slices: which map task made each, and what of it a reduce task reads."""

import pytest

from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, read_blocks, read_index
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.errors import InputLostError, WireError
from mapreduce.file_names import part_file_name, run_file_name
from mapreduce.plan import EVERY_PART, AttemptId, Done, Limits, TaskId, TaskKind
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Results, Source
from workers.shuffle_fetch import FetchMachine, Wanted
from workers.shuffle_messages import (
    INLINE_BYTES,
    BytesRequest,
    Gone,
    Reply,
    SliceReply,
    SliceRequest,
    decode,
    decode_all,
    encode,
    frames,
)
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


def test_kept_parts_lie_with_the_job_that_made_them(tmp_path):
    """A job reads the parts of another as those of a step below 0: one of them, or all in order."""
    attempts = [AttemptId(TaskId("kept", 3, TaskKind.REDUCE, index), 5) for index in range(2)]
    (tmp_path / "kept").mkdir()
    sources = Sources("w")
    for attempt in attempts:
        writer = BlockFileWriter(tmp_path / "kept" / part_file_name(attempt), block=1000)
        writer.write(0, make_batch([attempt.task.index], [attempt.number]))
        writer.close()
    for attempt in reversed(attempts):
        assert sources.add(plain.pack(Results("job", -2, False, (Source(attempt, "w", "", "", Done()),)))) == -2

    def read(index):
        slices = sources.part_slices(-2, index, tmp_path / "job", tmp_path / "fetched")
        return [pair for part in slices for batch in read_blocks(part) for pair in records_of(batch)]

    assert read(1) == [(1, 5)]
    assert read(EVERY_PART) == [(0, 5), (1, 5)]
    (tmp_path / "kept" / part_file_name(attempts[0])).unlink()
    with pytest.raises(InputLostError) as lost:
        read(0)
    assert lost.value.producer == attempts[0]


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


def test_few_bytes_come_with_the_slice(tmp_path):
    """A server gives the bytes of a small slice at once, and of a large one its index alone."""
    (tmp_path / "job").mkdir()
    attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)
    path = tmp_path / "job" / run_file_name(attempt, 0)
    writer = BlockFileWriter(path, partitions=3)
    writer.write(0, make_batch(["a"], [1]))
    writer.write(2, make_batch(list(range(INLINE_BYTES)), list(range(INLINE_BYTES))))
    writer.close()
    server = ShuffleServer(tmp_path)
    for partition in range(3):
        reply = server.answer(SliceRequest(1, attempt, 0, partition))
        assert isinstance(reply, SliceReply)
        start, length = reply.slice.byte_range
        assert reply.data == (path.read_bytes()[start : start + length] if partition < 2 else b"")
        assert (length > INLINE_BYTES) == (partition == 2)


def test_messages_share_frames():
    """Many small messages travel in few frames, of about the size that is asked for, and come out in their order."""
    attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)
    requests = [SliceRequest(number, attempt, 0, 3) for number in range(500)]
    sent = list(frames([*requests, Gone(500, "x" * 5000)], 2000))
    assert [one for frame in sent for one in decode_all(frame)] == [*requests, Gone(500, "x" * 5000)]
    assert len(sent) < 20
    assert max(map(len, sent[:-1])) <= 2010
    assert list(frames([], 2000)) == []
    with pytest.raises(WireError, match="2 messages"):
        decode(next(frames(requests[:2], 2000)))


HOSTILE_RANGES = [
    (b"\xff" * 9000, b""),
    (b"", b"\x00"),
    (b"\x12", b"\x11"),
    (b"\x11", b"\x11"),
    (b"\xff", b"\x00" * 9000),
]
HOSTILE_NUMBERS = [-(1 << 63), -2, -1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@pytest.mark.parametrize("points", [0, 60])
def test_a_server_outlives_ranges_and_numbers_that_are_none(tmp_path, points):
    """Whatever numbers and bounds a request has, there is an answer that can be sent: at most a few blocks, or Gone."""
    _, dones = written(tmp_path, points)
    attempt = dones[0][0]
    server = ShuffleServer(tmp_path)

    def ask(request) -> Reply:
        return decode(encode(server.answer(decode(encode(request)))))

    for low, high in HOSTILE_RANGES:
        found = ask(SliceRequest(1, attempt, 0, 0, low, high))
        assert isinstance(found, SliceReply)
        assert not points or len(found.slice.blocks) <= 1
    for number in HOSTILE_NUMBERS:
        assert isinstance(ask(SliceRequest(1, attempt, 0, number)), Gone)
        assert isinstance(ask(SliceRequest(1, attempt, 0, number, b"\x11", b"\x12")), Gone)
        assert isinstance(ask(SliceRequest(1, attempt, number, 0)), Gone)
        assert isinstance(ask(BytesRequest(1, attempt, 0, number, 10)), Gone)
        assert isinstance(ask(BytesRequest(1, attempt, 0, 0, number)), Gone)
