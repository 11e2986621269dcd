"""How programs written by hand share a large file out: pieces of bytes, and the whole lines that begin in each."""

import os

PIECE_BYTES = 8 << 20  # large enough that handing over costs nothing beside the work


def pieces(paths):
    for path in paths:
        size = os.path.getsize(path)
        for start in range(0, size, PIECE_BYTES):
            yield path, start, min(start + PIECE_BYTES, size)


def shares(paths, processes):
    """The pieces for each process, dealt out in turns."""
    dealt = list(pieces(paths))
    return [dealt[i::processes] for i in range(processes)]


def lines(path, start, end):
    """The bytes of all lines that begin in a piece."""
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()  # the line that the piece before has
        begin = file.tell()
        if begin >= end:
            return b""
        data = file.read(end - begin)
        return data if data.endswith(b"\n") else data + file.readline()
