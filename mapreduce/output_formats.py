"""Names of output formats: what a user may write, what it means, and how parts are called. Reads and writes nothing.

How each is written and read back is `dataflow.outputs.parts` and `dataflow.outputs.read`.
"""

from __future__ import annotations

import re

from mapreduce.errors import JobDefinitionError

TSV, JSONL, CSV, TEXT, MSGPACK, PARQUET, ARROW = "tsv", "jsonl", "csv", "text", "msgpack", "parquet", "arrow"
RECORDS = "records"  # typed, ours: for results without a folder, and not for users

OUTPUT_FORMATS = (TSV, JSONL, CSV, PARQUET, ARROW, MSGPACK, TEXT)
COLUMNAR = (PARQUET, ARROW)  # one type a column; packed inside
LINES = (TSV, JSONL, CSV, TEXT)  # for people and pipes
COMPRESSIONS = ("gz", "bz2", "xz", "zst", "lz4")  # of lines and msgpack, as a suffix of the name: jsonl.gz

# What other programs go by; TSV has none, as in other engines, but for the sake of what unpacks it.
_ENDINGS = {JSONL: ".jsonl", CSV: ".csv", TEXT: ".txt", MSGPACK: ".msgpack", PARQUET: ".parquet", ARROW: ".arrow"}
_PACKED = "|".join(COMPRESSIONS)
ENDING = rf"((\.tsv|\.jsonl|\.csv|\.txt|\.msgpack)(\.({_PACKED}))?|\.parquet|\.arrow)?"  # of a part's name
_COMPILED = re.compile(rf"(?P<base>[a-z]+)(\.(?P<packed>{_PACKED}))?")


def split_format(output_format: str) -> tuple[str, str]:
    """The format without its compression, and the compression ("" for none): ("jsonl", "gz") for "jsonl.gz"."""
    base, _, compression = output_format.partition(".")
    return base, compression


def ending_of(output_format: str) -> str:
    """What the names of its parts end in: ".csv.gz"; "" for plain tsv and for typed records."""
    base, compression = split_format(output_format)
    if not compression:
        return _ENDINGS.get(base, "")
    return f"{_ENDINGS.get(base, f'.{base}')}.{compression}"


def is_output_format(name: str) -> bool:
    """Whether an output can be in a format of this name: one that users may write, or that of typed records."""
    match = _COMPILED.fullmatch(name)
    return name == RECORDS or (
        match is not None and match["base"] in OUTPUT_FORMATS and not (match["packed"] and match["base"] in COLUMNAR)
    )


def check_output_format(option: str, given: object) -> str:
    """Give the name of an output format. Raises JobDefinitionError for what is none."""
    match = _COMPILED.fullmatch(given) if isinstance(given, str) else None
    if match is None or match["base"] not in OUTPUT_FORMATS:
        packed = ", ".join(COMPRESSIONS)
        msg = (
            f"{option} must be one of {', '.join(OUTPUT_FORMATS)}, or one of lines or msgpack with a compression "
            f"({packed}) as in jsonl.gz, not {given!r}"
        )
        raise JobDefinitionError(msg)
    if match["packed"] and match["base"] in COLUMNAR:
        msg = f"{option} is {given!r}, and {match['base']} files are compressed inside: write {match['base']!r}"
        raise JobDefinitionError(msg)
    return str(given)
