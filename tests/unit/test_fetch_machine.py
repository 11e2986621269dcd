"""The pure machine that fetches slices: what it asks for, when it asks again, when it gives up."""

import itertools

import pytest
import xxhash

from mapreduce.config import FETCH_TIMEOUT_S
from mapreduce.dataflow.columns.batches import Lane
from mapreduce.dataflow.columns.lane import Layout
from mapreduce.dataflow.shuffle.block_file import BlockRef, Slice
from mapreduce.errors import InputLostError
from mapreduce.plan import AttemptId, TaskId, TaskKind
from workers.shuffle_fetch import FETCH_RETRY_S, INDEX_CREDIT_BYTES, Ask, FetchMachine, Wanted, Write
from workers.shuffle_messages import BytesReply, BytesRequest, Gone, SliceReply, SliceRequest

SERVER = "tcp://10.0.0.1:1"


def attempt(index):
    return AttemptId(TaskId("job", 0, TaskKind.MAP, index), 1)


class File:
    """A file of one partition with blocks of the given sizes, as a shuffle server sees it."""

    def __init__(self, seed, sizes):
        self.start = 8 + seed
        self.bytes = b"\0" * self.start
        blocks = []
        for number, size in enumerate(sizes):
            data = bytes((seed + number + i) % 251 for i in range(size))
            checksum = xxhash.xxh3_64_intdigest(data)
            blocks.append(BlockRef(len(self.bytes), size, size, 1, checksum, Lane.STR, Lane.INT))
            self.bytes += data
        self.slice = Slice("", tuple(blocks), Lane.STR, Lane.INT, Layout.ROWS)


class World:
    """Servers that answer as the test wants, and the file that is written."""

    def __init__(self, files, *, addresses=(SERVER,), credit=100_000, piece=1000):
        self.files = files
        wanted = [
            Wanted(place, addresses[place % len(addresses)], SliceRequest(0, attempt(place), 0, 3))
            for place in range(len(files))
        ]
        self.machine = FetchMachine(wanted, "/local", credit_bytes=credit, piece_bytes=piece)
        self.written = bytearray()
        self.asked = []
        self.under_way = 0
        self.most = 0
        self.take(self.machine.tick(0.0))

    def take(self, effects):
        for effect in effects:
            if isinstance(effect, Write):
                end = effect.offset + len(effect.data)
                self.written.extend(b"\0" * (end - len(self.written)))
                self.written[effect.offset : end] = effect.data
            else:
                self.asked.append(effect)
                self.under_way += self.cost(effect.request)
                self.most = max(self.most, self.under_way)

    def cost(self, request):
        return request.length if isinstance(request, BytesRequest) else INDEX_CREDIT_BYTES

    def reply(self, request):
        file = self.files[request.attempt.task.index]
        if isinstance(request, SliceRequest):
            return SliceReply(request.request, file.slice)
        return BytesReply(request.request, file.bytes[request.offset : request.offset + request.length])

    def answer_one(self, now_s=0.0, place=0):
        ask = self.asked.pop(place)
        self.under_way -= self.cost(ask.request)
        self.take(self.machine.answer(ask.address, self.reply(ask.request), now_s))
        return ask

    def slice_bytes(self, place):
        found = self.machine.slices[place]
        start, length = found.byte_range
        return bytes(self.written[start : start + length])


@pytest.mark.parametrize("last_first", [False, True])
def test_fetches_everything(last_first):
    """Whatever the order of the answers, each slice's bytes land whole, in ranges that fit its blocks."""
    files = [File(seed, sizes) for seed, sizes in enumerate([[10, 20], [], [999, 1, 1000], [2500], [600, 600, 600]])]
    world = World(files, addresses=(SERVER, "tcp://10.0.0.2:1"))
    while not world.machine.done:
        world.answer_one(place=-1 if last_first else 0)
    for place, file in enumerate(files):
        assert world.slice_bytes(place) == file.bytes[file.start :]
        found = world.machine.slices[place]
        assert found.path == "/local"
        assert found.producer == attempt(place)
        for block in found.blocks:
            data = bytes(world.written[block.offset : block.offset + block.length])
            assert xxhash.xxh3_64_intdigest(data) == block.checksum
    assert not world.asked


def test_pieces_hold_whole_blocks_and_are_bounded():
    """A piece is never larger than a piece may be, and blocks that fit one are not cut."""
    world = World([File(0, [400, 400, 400, 2500, 30])])
    world.answer_one()
    lengths = [ask.request.length for ask in world.asked]
    assert lengths == [800, 400, 1000, 1000, 500, 30]


def test_few_bytes_come_with_the_index():
    """A slice whose bytes came with its index is complete: they are checked and written, and nothing is asked again."""
    world = World([File(0, [10, 20]), File(5, [7])])
    for file in world.files:
        ask = world.asked.pop(0)
        reply = SliceReply(ask.request.request, file.slice, file.bytes[file.start :])
        world.take(world.machine.answer(SERVER, reply, 0.0))
    assert world.machine.done
    assert not world.asked
    for place, file in enumerate(world.files):
        assert world.slice_bytes(place) == file.bytes[file.start :]


@pytest.mark.parametrize("wrong", [lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_few_bytes_that_are_wrong_are_lost_input(wrong):
    """Bytes that come with an index are held to its checksums too."""
    file = File(0, [10, 20])
    world = World([file])
    reply = SliceReply(world.asked[0].request.request, file.slice, wrong(file.bytes[file.start :]))
    with pytest.raises(InputLostError, match="its run 0, partition 3, at "):
        world.machine.answer(SERVER, reply, 0.0)


def test_credits_bound_what_is_under_way():
    """No more bytes than the credits are ever asked for and not yet there; with room for none, one still goes."""
    files = [File(seed, [900] * 20) for seed in range(5)]
    world = World(files, credit=20_000)
    while not world.machine.done:
        world.answer_one()
    assert world.most <= 20_000
    tight = World([File(0, [900] * 3)], credit=10)
    while not tight.machine.done:
        assert len(tight.asked) == 1
        tight.answer_one()


def test_doubles_and_strangers_are_ignored():
    """An answer that comes twice, from another server, or of the wrong kind changes nothing."""
    world = World([File(0, [100])])
    ask = world.asked[0]
    reply = world.reply(ask.request)
    assert world.machine.answer("tcp://evil:1", reply, 0.0) == []
    assert world.machine.answer(SERVER, BytesReply(ask.request.request, b"x"), 0.0) == []
    world.answer_one()
    assert world.machine.answer(SERVER, reply, 0.0) == []
    world.answer_one()
    assert world.machine.done


def test_asks_again_after_silence():
    """A server that is silent for FETCH_RETRY_S is asked again, once each FETCH_RETRY_S, with the same numbers."""
    world = World([File(0, [100]), File(1, [100])])
    first = list(world.asked)
    assert world.machine.tick(FETCH_RETRY_S / 2) == []
    assert world.machine.tick(FETCH_RETRY_S) == first
    assert world.machine.tick(FETCH_RETRY_S + 0.5) == []
    assert world.machine.tick(2 * FETCH_RETRY_S) == first


def test_gives_up_on_a_silent_server():
    """FETCH_TIMEOUT_S without a byte loses the input: the error names producer and server."""
    world = World([File(0, [100])])
    world.answer_one(now_s=5.0)
    world.machine.tick(4.9 + FETCH_TIMEOUT_S)
    with pytest.raises(InputLostError, match="no byte came") as caught:
        world.machine.tick(5.0 + FETCH_TIMEOUT_S)
    assert caught.value.producer == attempt(0)
    assert SERVER in str(caught.value)


def test_a_slow_server_is_no_silent_one():
    """Time spent on one server's data is not counted against a request that was made later."""
    world = World([File(0, [900] * 50)], credit=1000)
    now_s = 0.0
    while not world.machine.done:
        now_s += FETCH_TIMEOUT_S - 1
        world.machine.tick(now_s)
        world.answer_one(now_s)
    assert now_s > 10 * FETCH_TIMEOUT_S


def test_gone_file_is_lost_input():
    """A server that says that it has no such file loses the input at once."""
    world = World([File(0, [100])])
    with pytest.raises(InputLostError, match="the file is not there") as caught:
        world.machine.answer(SERVER, Gone(world.asked[0].request.request, "the file is not there"), 0.0)
    assert caught.value.producer == attempt(0)


def test_corrupt_bytes_are_lost_input():
    """A block whose checksum differs loses the input: the error names run, byte range and server."""
    file = File(0, [100, 200])
    world = World([file])
    world.answer_one()
    file.bytes = file.bytes[:-1] + bytes([file.bytes[-1] ^ 1])
    with pytest.raises(InputLostError, match=r"its run 0, partition 3, at .*: bytes 108 to 308 are not what"):
        world.answer_one()


def test_short_answer_is_lost_input():
    """Fewer bytes than were asked for lose the input."""
    file = File(0, [100])
    world = World([file])
    world.answer_one()
    file.bytes = file.bytes[:-1]
    with pytest.raises(InputLostError, match="99 bytes came for"):
        world.answer_one()


def test_request_numbers_are_never_used_twice():
    """Each request has a number of its own, so that a late answer can't be taken for another."""
    world = World([File(seed, [900] * 3) for seed in range(4)])
    numbers = itertools.count()
    seen = set()
    while not world.machine.done:
        ask = world.answer_one()
        assert isinstance(ask, Ask)
        seen.add(ask.request.request)
        next(numbers)
    assert len(seen) == next(numbers)
