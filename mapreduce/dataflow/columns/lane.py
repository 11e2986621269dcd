"""How a column's objects are stored. Quick to load: a shuffle server knows lanes, and has no use for Polars."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


class Lane(enum.StrEnum):
    """How a column's objects are stored."""

    STR = "str"
    BYTES = "bytes"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    ENCODED = "encoded"

    @property
    def dtype(self) -> type[pl.DataType]:
        """Polars' type of a column in this lane."""
        import polars as pl  # noqa: PLC0415 - see above

        found: type[pl.DataType] = getattr(pl, _DTYPES[self])
        return found


class Layout(enum.StrEnum):
    """What a row of a batch is: a pair, a key with the list of its values, or a pair with how often it comes."""

    ROWS = "rows"
    GROUPED = "grouped"
    REPEATED = "repeated"


_DTYPES = {
    Lane.STR: "String",
    Lane.BYTES: "Binary",
    Lane.INT: "Int64",
    Lane.FLOAT: "Float64",
    Lane.BOOL: "Boolean",
    Lane.ENCODED: "Binary",
}
