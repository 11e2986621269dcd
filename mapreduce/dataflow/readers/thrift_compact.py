"""Structs in Thrift's compact protocol, as Parquet has them in its footer and before its pages.

Reads the fields that are wanted and passes over the rest. Source: apache/thrift
(`doc/specs/thrift-compact-protocol.md`). Takes no more memory than the data, whatever they claim to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, TypeAlias

DEPTH = 16  # of nested structs and lists: Parquet's own have 7
VARINT_BITS = 64  # of the largest number


class ThriftError(Exception):
    """Why some bytes are no such struct."""


class As(Enum):
    """What a wanted field holds."""

    NUMBER = auto()
    TEXT = auto()
    TEXTS = auto()


# Fields of a struct by their ids; of structs theirs, of lists of structs theirs in a tuple.
Wanted: TypeAlias = "Mapping[int, As | Wanted | tuple[Wanted]]"

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)
_FIXED = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}


class Compact:
    """Reads structs that lie behind one another. Raises IndexError where the data end too early, ThriftError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._depth = 0
        self._skips: dict[int, Callable[[], object]] = {
            _TRUE: lambda: True,
            _FALSE: lambda: False,
            _I16: self._varint,
            _I32: self._varint,
            _I64: self._varint,
            _BINARY: self._binary,
            _LIST: self._skip_list,
            _SET: self._skip_list,
            _MAP: self._skip_map,
            _STRUCT: lambda: self.struct({}),
        }

    @property
    def at(self) -> int:
        """How many bytes have been read."""
        return self._at

    def struct(self, wanted: Wanted) -> dict[int, Any]:
        """Read the wanted fields of a struct, by their ids."""
        self._enter()
        found: dict[int, Any] = {}
        field = 0
        while header := self._byte():
            kind = header & 15
            delta = header >> 4
            field = field + delta if delta else _signed(self._varint())
            if field in wanted:
                found[field] = self._value(kind, wanted[field])
            else:
                self._skip(kind)
        self._depth -= 1
        return found

    def _value(self, kind: int, wanted: As | Wanted | tuple[Wanted]) -> Any:
        if isinstance(wanted, tuple) and kind == _LIST:
            inner = wanted[0]
            return self._list(_STRUCT, lambda: self.struct(inner))
        if isinstance(wanted, Mapping) and kind == _STRUCT:
            return self.struct(wanted)
        if wanted is As.NUMBER and kind in (_I16, _I32, _I64):
            return _signed(self._varint())
        if wanted is As.TEXT and kind == _BINARY:
            return self._binary()
        if wanted is As.TEXTS and kind == _LIST:
            return self._list(_BINARY, self._binary)
        raise ThriftError("a field has another type than it must have")

    def _list(self, kind: int, read: Callable[[], Any]) -> list[Any]:
        """Read a list of a type."""
        found, count = self._list_head()
        if count and found != kind:
            raise ThriftError("a list has another type than it must have")
        return [read() for _ in range(count)]

    def _list_head(self) -> tuple[int, int]:
        """The type and number of a list's items."""
        header = self._byte()
        return header & 15, self._count(header >> 4 if header >> 4 < 15 else self._varint())

    def _skip_list(self) -> None:
        self._enter()
        kind, count = self._list_head()
        for _ in range(count):
            self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind)
        self._depth -= 1

    def _skip(self, kind: int) -> None:
        if kind in _FIXED:
            self._take(_FIXED[kind])
        elif kind in self._skips:
            self._skips[kind]()
        else:
            raise ThriftError(f"there is no type {kind}")

    def _skip_map(self) -> None:
        self._enter()
        count = self._count(self._varint())
        if count:
            kinds = self._byte()
            for _ in range(count):
                for kind in (kinds >> 4, kinds & 15):
                    self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind)
        self._depth -= 1

    def _count(self, count: int) -> int:
        """Check the length of a list: each of its items has a byte at least."""
        if count > len(self._data) - self._at:
            raise ThriftError("a list would be longer than all there is")
        return count

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise ThriftError(f"it is nested more than {DEPTH} deep")

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _varint(self) -> int:
        data, at = self._data, self._at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                self._at = at
                return number
            shift += 7
            if shift >= VARINT_BITS:
                raise ThriftError("a number has more than 64 bits")

    def _binary(self) -> bytes:
        return self._take(self._varint())

    def _take(self, size: int) -> bytes:
        stop = self._at + size
        if stop > len(self._data):
            raise IndexError(stop)
        taken = self._data[self._at : stop]
        self._at = stop
        return taken


def _signed(number: int) -> int:
    """Undo the zigzag of small negative numbers."""
    return (number >> 1) ^ -(number & 1)
