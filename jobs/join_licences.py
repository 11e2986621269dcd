"""What is installed, by licence: joins the files of Python packages with the packages' metadata.

Two inputs that every Python environment has, of different formats: `files` are the RECORD files of installed packages
(CSV: path, hash, size; https://packaging.python.org/en/latest/specifications/recording-installed-packages/), `packages`
their METADATA (e-mail headers). A left join brings each file to its package's licence; a second step counts and adds.
"""

import email.parser
from collections.abc import Iterator
from pathlib import PurePath

from mapreduce import Context, Count, Csv, Files, Input, Job, Join, Max, Step, Sum


def package_of(path: str) -> str:
    """The name and version of the package that a file of a .dist-info folder describes."""
    return PurePath(path).parent.name.removesuffix(".dist-info")


def installed(row: list[str], *, ctx: Context) -> Iterator[tuple[str, int]]:
    """Yield a file's size under its package; a RECORD leaves out the sizes of what is made at installation."""
    _, _, size = row
    yield package_of(ctx.path), int(size or 0)


def licence(path: str, metadata: str) -> Iterator[tuple[str, str]]:
    """Yield a package's licence: its SPDX expression, else its classifiers, else the first line of the free text."""
    headers = email.parser.HeaderParser().parsestr(metadata)
    classifiers = [text for text in headers.get_all("Classifier", []) if text.startswith("License :: ")]
    named = [text.rpartition(" :: ")[2] for text in classifiers]
    free = (headers["License"] or "").strip().partition("\n")[0]
    yield package_of(path), headers["License-Expression"] or ", ".join(named) or free or "not said"


def by_licence(_package: str, pair: tuple[int, str | None]) -> Iterator[tuple[str, int]]:
    """Yield a file's size under its licence."""
    size, named = pair
    yield named or "not said", size


job = Job(
    steps=[
        Step(
            inputs={
                "files": Input(installed, format=Csv(header=False)),
                "packages": Input(licence, format=Files(text=True)),
            },
            reducer=Join("left"),
        ),
        Step(by_licence, reducer={"files": Count(), "bytes": Sum(), "largest": Max()}),
    ],
)
