"""Fetching slices of other workers' files: a pure machine.

Owns what is asked for and when: first each slice's index, with which few bytes come at once, then its bytes, in pieces
of whole blocks; how much may be under way (credits); asking again; giving up on a server that has been silent. Knows no
socket, file or clock: `shuffle_client` carries the effects out. All slices land in one local file, each in a range of
its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

import xxhash

from mapreduce.config import FETCH_CREDIT_BYTES, FETCH_PIECE_BYTES, FETCH_TIMEOUT_S
from mapreduce.dataflow.shuffle.block_file import BlockRef, Slice
from mapreduce.errors import InputLostError
from mapreduce.plan import AttemptId
from mapreduce.quick_dataclass import dataclass
from workers.shuffle_messages import BytesReply, BytesRequest, Gone, Reply, Request, SliceReply, SliceRequest

FETCH_RETRY_S = 3.0  # after so long without a byte from a server everything is asked for again: it may have restarted
INDEX_CREDIT_BYTES = 16 << 10  # what an index counts against the credits: most are far smaller


@dataclass(frozen=True, slots=True)
class Wanted:
    """One slice: `place` names it for the caller; `request.request` is ignored."""

    place: int
    address: str
    request: SliceRequest


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this request."""

    address: str
    request: Request


@dataclass(frozen=True, slots=True)
class Write:
    """Write these bytes into the local file."""

    offset: int
    data: bytes


FetchEffect = Ask | Write


@dataclass(slots=True)
class _Pending:
    """A request under way; `blocks` are those that its bytes hold, whole; `at` is where they go."""

    wanted: Wanted
    request: Request
    cost: int
    at: int = 0
    blocks: tuple[BlockRef, ...] = ()


class FetchMachine:
    """Fetches all of `wanted` into the file `path`. Its methods raise InputLostError, naming the producer."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        path: str,
        *,
        credit_bytes: int = FETCH_CREDIT_BYTES,
        piece_bytes: int = FETCH_PIECE_BYTES,
    ) -> None:
        self._path = path
        self._credit = credit_bytes
        self._piece = piece_bytes
        self._indexes = deque(wanted)
        self._pieces: deque[_Pending] = deque()
        self._pending: dict[int, _Pending] = {}
        self._under_way = 0
        self._requests = 0
        self._end = 0
        self._missing = dict.fromkeys((w.place for w in wanted), 1)  # answers that each slice still needs
        self._heard_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self.slices: dict[int, Slice] = {}

    @property
    def done(self) -> bool:
        """Whether every slice is complete."""
        return not self._missing

    def tick(self, now_s: float) -> list[FetchEffect]:
        """Ask for what there is credit for, again where a server is silent; give up on one that stays so."""
        effects: list[FetchEffect] = []
        for address in {pending.wanted.address for pending in self._pending.values()}:
            if now_s - self._heard_s[address] >= FETCH_TIMEOUT_S:
                pending = next(p for p in self._pending.values() if p.wanted.address == address)
                raise _lost(pending.wanted, f"no byte came for {FETCH_TIMEOUT_S:g} s")
            if now_s - max(self._heard_s[address], self._asked_s[address]) >= FETCH_RETRY_S:
                self._asked_s[address] = now_s
                again = [p.request for p in self._pending.values() if p.wanted.address == address]
                effects += [Ask(address, request) for request in again]
        return effects + self._fill(now_s)

    def answer(self, address: str, reply: Reply, now_s: float) -> list[FetchEffect]:
        """Take an answer; one to nothing that is under way is a double, and ignored."""
        self._heard_s[address] = now_s
        pending = self._pending.get(reply.request)
        if pending is None or pending.wanted.address != address:
            return []
        effects: list[FetchEffect] = []
        if isinstance(reply, Gone):
            raise _lost(pending.wanted, reply.reason)
        if isinstance(reply, SliceReply) and isinstance(pending.request, SliceRequest):
            effects += self._plan(pending.wanted, reply.slice, reply.data)
        elif isinstance(reply, BytesReply) and isinstance(pending.request, BytesRequest):
            _check(pending.wanted, pending.blocks, pending.request.offset, pending.request.length, reply.data)
            effects.append(Write(pending.at, reply.data))
        else:
            return []
        del self._pending[reply.request]
        self._under_way -= pending.cost
        self._answered(pending.wanted.place)
        return effects + self._fill(now_s)

    def _plan(self, wanted: Wanted, found: Slice, data: bytes) -> list[FetchEffect]:
        """A slice's index has come: give it its range of the file, and cut it into pieces, if it came without bytes."""
        start, length = found.byte_range
        at, self._end = self._end, self._end + length
        producer = wanted.request.attempt
        self.slices[wanted.place] = replace(found.relocated(self._path, at), producer=producer)
        if data:
            _check(wanted, found.blocks, start, length, data)
            return [Write(at, data)]
        for offset, size, blocks in _cut(found.blocks, self._piece):
            request = BytesRequest(0, producer, wanted.request.spill, offset, size)
            self._pieces.append(_Pending(wanted, request, size, at + offset - start, blocks))
            self._missing[wanted.place] += 1
        return []

    def _answered(self, place: int) -> None:
        self._missing[place] -= 1
        if not self._missing[place]:
            del self._missing[place]

    def _fill(self, now_s: float) -> list[FetchEffect]:
        effects: list[FetchEffect] = []
        while self._pieces or self._indexes:
            if self._pieces:
                pending = self._pieces[0]
            else:
                pending = _Pending(self._indexes[0], self._indexes[0].request, INDEX_CREDIT_BYTES)
            if self._pending and self._under_way + pending.cost > self._credit:
                break
            (self._pieces or self._indexes).popleft()
            effects.append(self._ask(pending, now_s))
        return effects

    def _ask(self, pending: _Pending, now_s: float) -> Ask:
        self._requests += 1
        pending.request = replace(pending.request, request=self._requests)
        address = pending.wanted.address
        if not any(other.wanted.address == address for other in self._pending.values()):
            self._heard_s[address] = now_s  # its silence counts from the first question on
        self._asked_s.setdefault(address, now_s)
        self._pending[self._requests] = pending
        self._under_way += pending.cost
        return Ask(address, pending.request)


def _cut(blocks: Iterable[BlockRef], piece: int) -> Iterable[tuple[int, int, tuple[BlockRef, ...]]]:
    """Cut contiguous blocks into (offset, size, whole blocks) of at most `piece` bytes; a larger block is cut itself.

    The parts of a cut block come without it: its checksum is looked at when it is read.
    """
    gathered: list[BlockRef] = []
    size = 0
    for block in blocks:
        if gathered and size + block.length > piece:
            yield gathered[0].offset, size, tuple(gathered)
            gathered, size = [], 0
        if block.length > piece:
            for start in range(0, block.length, piece):
                yield block.offset + start, min(piece, block.length - start), ()
            continue
        gathered.append(block)
        size += block.length
    if gathered:
        yield gathered[0].offset, size, tuple(gathered)


def _check(wanted: Wanted, blocks: Iterable[BlockRef], offset: int, length: int, data: bytes) -> None:
    """Raise InputLostError unless these are the bytes of a range of the file, and the blocks in it."""
    if len(data) != length:
        raise _lost(wanted, f"{len(data)} bytes came for bytes {offset}+{length}")
    view = memoryview(data)
    for block in blocks:
        start = block.offset - offset
        if xxhash.xxh3_64_intdigest(view[start : start + block.length]) != block.checksum:
            where = f"bytes {block.offset} to {block.offset + block.length}"
            raise _lost(wanted, f"{where} are not what was written (their checksum differs)")


def _lost(wanted: Wanted, why: str) -> InputLostError:
    producer: AttemptId = wanted.request.attempt
    spill = "its part" if wanted.request.spill < 0 else f"its run {wanted.request.spill}"
    return InputLostError(producer, f"{spill}, partition {wanted.request.partition}, at {wanted.address}: {why}")
