"""What the parts of one output have in common: the types of its columns, found when all parts are known.

A part whose records all have None somewhere, or that has no records at all, cannot know the types or columns of the
others, and programs that read all parts as one table mind: such parts are written again. Plain functions over facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from mapreduce.dataflow.inputs.codecs import Codec
from mapreduce.dataflow.outputs.column_types import NAME_CHARS, common_types, named_type
from mapreduce.dataflow.outputs.columnar import rewrite
from mapreduce.dataflow.outputs.compress import codec_named
from mapreduce.dataflow.outputs.csv_text import common_values, header, named_table
from mapreduce.dataflow.outputs.files import ByteFiles, Writing
from mapreduce.output_formats import COLUMNAR, CSV, split_format
from mapreduce.plan import PartInfo
from mapreduce.quick_dataclass import dataclass

Rewrite = Callable[[Path, Path], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Common:
    """The names of the types of keys and of values, and how parts become as the others.

    `mends` says whether a part must be; `rewrite(source, target)` writes one of its files again, gives the new one's
    size in bytes and checksum, and may raise OSError.
    """

    keys: tuple[str, ...]
    values: tuple[str, ...]
    mends: Callable[[PartInfo], bool] = lambda _info: False
    rewrite: Rewrite | None = None


def common_of(output_format: str, infos: Iterable[PartInfo], writing: Writing) -> Common:
    """What parts of these facts have in common; `writing` is how they were written."""
    infos = list(infos)
    keys = {kind for info in infos for kind in info.key_types}
    values = {kind for info in infos for kind in info.value_types}
    base, compression = split_format(output_format)
    if base in COLUMNAR:
        return _of_columns(keys, values, base, writing.types_chars - NAME_CHARS)
    if base == CSV:
        return _of_csv(keys, common_values(values, writing.types_chars), codec_named(compression))
    return Common(_sorted(keys), _sorted(values))


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _of_columns(keys: set[str], values: set[str], base: str, most: int) -> Common:
    keys, values, schema = common_types(keys, values, most)
    if schema is None:
        return Common(_sorted(keys), _sorted(values))
    columns = schema

    def mends(info: PartInfo) -> bool:
        names = {"key": info.key_types, "value": info.value_types}
        return any(list(map(named_type, names[column])) != [dtype] for column, dtype in columns.items())

    def again(source: Path, target: Path) -> tuple[int, str]:
        return rewrite(source, target, columns, base)

    return Common(_sorted(keys), _sorted(values), mends, again)


def _of_csv(keys: set[str], values: set[str], codec: Codec) -> Common:
    """Parts without records get the header of the others, if these are tables of the same columns."""
    table = named_table(next(iter(values))) if len(values) == 1 else None
    if table is None:
        return Common(_sorted(keys), _sorted(values))
    begin = header(list(table), keys=bool(keys))

    def again(_source: Path, target: Path) -> tuple[int, str]:
        files = ByteFiles(target, codec, Writing())
        try:
            (file,) = files.close(begin)
        except OSError:
            files.abort()
            raise
        return file.size, file.checksum

    return Common(_sorted(keys), _sorted(values), lambda info: info.records == 0, again)
