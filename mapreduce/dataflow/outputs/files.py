"""The file, or with a part size the files, of a part that is a sequence of bytes: cut between records, and summed.

Without compression a file holds as many records as fit the part size, and one at least. With it what counts is what has
been written by now, looked at after each step of content: a file is larger than the part size by what its compressor
held back. Either way the cuts are a function of the records alone, and not of how they arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from mapreduce.dataflow.inputs.codecs import Codec
from mapreduce.dataflow.outputs.compress import compressor
from mapreduce.errors import OutputError
from mapreduce.file_names import numbered
from mapreduce.plan import PartFile, TaskOptions
from mapreduce.quick_dataclass import dataclass

FEED_BYTES = 256 << 10  # of content, given to a compressor at a time: two blocks of zstd's
WRITE_BYTES = 1 << 20  # Linux may take five times as long to copy the bytes of one write of several megabytes
FILES = 1000  # of all parts of an attempt: with their sums of 40 bytes each they fit a control frame
TYPES_CHARS = 40_000  # of all names of column types of an attempt: with four bytes each they fit one as well

Ends = npt.NDArray[np.int64]


@dataclass(slots=True)
class Writing:
    """What all parts that an attempt writes have in common.

    `durable` and `part_size` (bytes) are as in TaskOptions; `types_chars` is how long the name of one column's type
    may be. `files` is how many there are so far, of parts that may be several.
    """

    durable: bool = True
    part_size: int | None = None
    types_chars: int = TYPES_CHARS
    files: int = 0

    @classmethod
    def of(cls, options: TaskOptions) -> Writing:
        """For the parts of an attempt of a job with these options."""
        return cls(options.durable, options.part_size, TYPES_CHARS // (1 + len(options.outputs)))

    def next_file(self, path: Path, number: int) -> Path:
        """The path of a part's next file. Raises OutputError if there are too many."""
        if self.part_size is None:
            return path
        if self.files == FILES:
            raise OutputError(
                f"with a part size of {self.part_size:,} bytes this task's results are more than {FILES:,} files: "
                "choose a larger one, or more reducers (without a reducer: a smaller split size)"
            )
        self.files += 1
        return path.with_name(numbered(path.name, number))


def line_ends(data: bytes) -> Ends:
    """Where the lines of some whole lines end, in bytes from its beginning."""
    return np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1


def checksum_of(files: Iterable[PartFile]) -> str:
    """The checksum of a part that is several files."""
    return xxhash.xxh3_64_hexdigest("".join(file.checksum for file in files).encode())


class _File:
    """One file, which may be compressed; its `content` is what it holds, `size` what has been written."""

    def __init__(self, path: Path, codec: Codec, feed: int) -> None:
        self._file = path.open("wb")
        self._sum = xxhash.xxh3_64()
        self._compressor = None if codec is Codec.NONE else compressor(codec)
        self._feed = feed
        self._waiting = bytearray()
        self.path = path
        self.records = 0
        self.content = 0
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.content += len(data)
        if self._compressor is None:
            self._put(data)
            return
        self._waiting += data
        whole = len(self._waiting) - len(self._waiting) % self._feed
        for start in range(0, whole, self._feed):
            self._put(self._compressor.compress(bytes(self._waiting[start : start + self._feed])))
        del self._waiting[:whole]

    def close(self) -> PartFile:
        if self._compressor is not None:
            self._put(self._compressor.compress(bytes(self._waiting)))
            self._put(self._compressor.flush())
        self._file.close()
        return PartFile(self.records, self.size, self._sum.hexdigest())

    def abort(self) -> None:
        with suppress(OSError):  # closing flushes, and the disk may still be full: the file goes anyway
            self._file.close()

    def _put(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        for start in range(0, len(rest), WRITE_BYTES):
            self._file.write(rest[start : start + WRITE_BYTES])
        self._sum.update(data)
        self.size += len(data)


class ByteFiles:
    """Writes a part as a sequence of bytes; methods may raise OSError, and OutputError for too many files."""

    def __init__(self, path: Path, codec: Codec, writing: Writing) -> None:
        self._path = path
        self._codec = codec
        self._writing = writing
        self._limit = writing.part_size
        self._feed = FEED_BYTES if self._limit is None else min(FEED_BYTES, self._limit)
        self._done: list[PartFile] = []
        self._checked = 0  # how much content the file at hand had when its size was last looked at
        self._file: _File | None = None
        self.paths: list[Path] = []
        self._open()

    def put(self, data: bytes, records: int, ends: Callable[[], Ends], begin: bytes = b"") -> None:
        """Write whole records, so many, which end there in the data; `begin` is what each file begins with."""
        if self._limit is None:
            file = self._ready(begin)
            file.write(data)
            file.records += records
            return
        stops = ends()
        assert len(stops) == records, "each record has an end"
        at, rest = 0, memoryview(data)
        while at < records:
            at = self._put_some(rest, stops, at, begin)

    def close(self, begin: bytes = b"") -> list[PartFile]:
        """Write out the last file. Gives the facts of all."""
        if self._file is None:
            return self._done
        file = self._ready(begin)
        self._end(file)
        return self._done

    def abort(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.abort()

    def _open(self) -> _File:
        self.paths.append(self._writing.next_file(self._path, len(self._done)))
        self._checked = 0
        self._file = _File(self.paths[-1], self._codec, self._feed)
        return self._file

    def _ready(self, begin: bytes) -> _File:
        file = self._file or self._open()
        if begin and not file.content:
            file.write(begin)
        return file

    def _end(self, file: _File) -> None:
        self._done.append(file.close())
        self._file = None

    def _put_some(self, data: memoryview, stops: Ends, at: int, begin: bytes) -> int:
        """Write records from number `at` on, up to a file's end or the next look at it. Gives how many are written."""
        assert self._limit is not None
        file = self._ready(begin)
        start = int(stops[at - 1]) if at else 0
        if self._codec is Codec.NONE:
            stop = int(np.searchsorted(stops, start + self._limit - file.size, side="right"))
            full = stop < len(stops)
            stop = max(stop, at + (file.records == 0))
        else:
            # the first record that ends at or after the next look
            look = start + self._checked + self._feed - file.content
            stop = max(int(np.searchsorted(stops, look, side="left")), at) + 1
            full = stop <= len(stops)
            stop = min(stop, len(stops))
        if stop > at:
            file.write(data[start : int(stops[stop - 1])])
            file.records += stop - at
        if full and self._codec is not Codec.NONE:
            self._checked = file.content
            full = file.size >= self._limit
        if full:
            self._end(file)
        return stop
