"""Records that a format cannot take: what is told of one, and who is told."""

from __future__ import annotations

from collections.abc import Callable

from mapreduce.errors import RecordError

UNREADABLE = "not in the input's format"  # the kind of records that are not told apart any further


class UnreadableRecord(RecordError):
    """A record that is not what the input's format says. `path` and `offset` (decompressed) say where it begins.

    `kind` says in a few words what is wrong, alike for all records with the same fault; `content` is the record as far
    as it is known, bytes where it is no text.
    """

    def __init__(
        self, path: str, offset: int | None, message: str, *, kind: str = UNREADABLE, content: str | bytes | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.kind = kind
        self.content = content


# What a reader calls with each record that is none, in place of raising it, where bad records are put aside. A reader
# takes it as `aside`, None where the first such record ends the attempt, and hands it to `refuse`. Only for damage of
# one record, behind which reading goes on safely: what ends a file (a cut off gzip, a quote never closed) is raised.
PutAside = Callable[["UnreadableRecord"], None]


def refuse(aside: PutAside | None, error: UnreadableRecord) -> None:
    """Put a record aside that the format cannot take; raises `error` where none is put aside.

    The error says all that is told of the record: its place and message, its `kind` (a few words, the same for all
    records with this fault: "no JSON"), and its `content` as far as it is known, bytes where it is no text. To be
    called in the order of the file, before the records that come behind it in the same block are given.
    """
    if aside is None:
        raise error
    aside(error)
