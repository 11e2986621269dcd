"""Blocks of bytes, cut anew so that each ends behind a newline, in any encoding that has one."""

from __future__ import annotations

from collections.abc import Iterator

from mapreduce.dataflow.inputs.encoding import Encoding


class LongLineError(Exception):
    """A line is too long. `at` is where it begins in its stream."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def cut_at_newlines(stream: Iterator[bytes], encoding: Encoding, longest: int) -> Iterator[bytes]:
    """Cut blocks of bytes anew, so that each ends behind a newline; the last one ends with the stream.

    Time is linear however long a line is: only new bytes are searched. Raises LongLineError for a line of more than
    `longest` bytes, wherever blocks end; a block has no more than that itself.
    """
    newline, width = encoding.newline, encoding.width
    carry: list[bytes] = []
    at = held = 0  # where the line begins that is carried, and its bytes so far
    rest = b""  # of an incomplete unit
    for fresh in stream:
        block = fresh
        if width > 1:
            block = rest + fresh
            whole = len(block) // width * width
            block, rest = block[:whole], block[whole:]
        cut = _last_newline(block, newline, width)
        if held + (block.find(newline) + width if cut else len(block)) > longest:
            raise LongLineError(at)
        if cut == 0:
            carry.append(block)
            held += len(block)
            continue
        carry.append(block[:cut])
        yield b"".join(carry) if len(carry) > 1 else carry[0]
        carry = [block[cut:]] if cut < len(block) else []
        at, held = at + held + cut, len(block) - cut
    carry.append(rest)
    last = b"".join(carry)
    if len(last) > longest:
        raise LongLineError(at)
    if last:
        yield last


def in_blocks(stream: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Cut blocks of bytes into such of at most `size` bytes."""
    for block in stream:
        for at in range(0, len(block), size):
            yield block[at : at + size]


def _last_newline(block: bytes, newline: bytes, width: int) -> int:
    """Give the position behind the last newline that lies at a multiple of `width`; 0 if there is none."""
    found = block.rfind(newline)
    while found >= 0 and found % width:
        found = block.rfind(newline, 0, found + width - 1)
    return found + width if found >= 0 else 0
