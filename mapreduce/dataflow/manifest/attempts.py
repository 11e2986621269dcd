"""What an attempt writes of an output: private files below the output folder, or, of one in a store, in scratch.

In a store nothing is renamed. So an attempt uploads its finished files at once to names of their own, which carry the
job's id and the attempt's number: they are parts of the output when the manifest names them, and not before.
"""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import xxhash

from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.inputs.copies import copies_folder
from mapreduce.dataflow.manifest.file import TEMPORARY, Manifest, object_name, temporary_folder
from mapreduce.dataflow.manifest.in_store import check_reserved
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.store import Store
from mapreduce.errors import DiskFullError, OutputError
from mapreduce.file_names import attempt_output_name, bad_file_name
from mapreduce.plan import AttemptId, PartInfo, TaskOptions
from mapreduce.urls import is_url, join

COPY_BYTES = 8 << 20  # of one request when an object is read as a whole


def private_folder(options: TaskOptions, scratch: Path) -> Path:
    """Where an attempt writes what is not granted yet."""
    return scratch if is_url(options.output) else temporary_folder(options.output, options.job)


def deliver(
    options: TaskOptions, scratch: Path, attempt: AttemptId, part: PartInfo, outputs: Mapping[str, PartInfo]
) -> None:
    """Upload the finished files of an attempt, if the output is in a store, and remove them from scratch.

    Raises StoreError, DiskFullError for a file that is not what was written.
    """
    if not is_url(options.output):
        return
    folder = private_folder(options, scratch)
    formats = {"": options.output_format, **dict(options.outputs)}
    uploaded: list[str] = []
    for name, info in {**outputs, "": part}.items():
        place = join(options.output, name) if name else options.output
        for number, file in info.each():
            path = folder / attempt_output_name(attempt, name, number)
            if file_checksum(path) != file.checksum:
                raise DiskFullError(f"{path} is not what was written there: the disk of the scratch folder is broken")
            url = join(place, object_name(attempt, formats[name], number))
            store_of(url).upload(path, url, file.checksum)
            uploaded.append(url)
            path.unlink()
    _take_back_late(options, uploaded)


def _take_back_late(options: TaskOptions, uploaded: Sequence[str]) -> None:
    """Remove what was uploaded after the job's end. Raises OutputError then: nobody waits for this attempt."""
    store = store_of(options.output)
    try:
        check_reserved(store, options.output, options.job)
    except OutputError:
        for url in uploaded:
            store.remove(url)
        raise


def deliver_bad(options: TaskOptions, path: Path, attempt: AttemptId) -> None:
    """Upload the file of an attempt's bad records to where the commit finds it, if the output is in a store."""
    if is_url(options.output):
        url = join(join(options.output, f"{TEMPORARY}{options.job}"), bad_file_name(attempt))
        store_of(url).upload(path, url, file_checksum(path))
        path.unlink()
        _take_back_late(options, [url])


def forget(options: TaskOptions, scratch: Path, attempt: AttemptId) -> None:
    """Remove from scratch the files of an attempt that came to nothing; what it has uploaded goes with the job."""
    if is_url(options.output):
        names = ["", *(name for name, _ in options.outputs)]
        for name in names:
            start = attempt_output_name(attempt, name)
            for path in scratch.glob(f"{start}*"):
                if path.name == start or re.fullmatch(r"-\d{5,}", path.name[len(start) :]):
                    path.unlink(missing_ok=True)


def checked_parts(folder: str, manifest: Manifest) -> list[str]:
    """Give the URLs of the parts, in order. Raises OutputError for one missing or of another size, StoreError."""
    store = store_of(folder)
    found = dict(store.below(folder))
    urls = [join(folder, file.name) for file in manifest.files]
    for url, file in zip(urls, manifest.files, strict=True):
        facts = found.get(url) or store.facts(url)  # lists of some stores are late
        if facts is None:
            raise OutputError(f"the part {url} cannot be read: there is no such object. Run the job again.")
        if facts.size != file.bytes:
            raise OutputError(
                f"the part {url} has {facts.size} bytes, and the manifest says {file.bytes}: it was changed or cut "
                "off. Run the job again."
            )
    return urls


@contextmanager
def downloaded(url: str) -> Iterator[Path]:
    """Give a local copy of a part, which goes away afterwards. Raises FileNotFoundError, StoreError."""
    store = store_of(url)
    facts = store.facts(url)
    if facts is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", url)
    with tempfile.TemporaryDirectory(prefix="mapreduce-part-", dir=copies_folder.get()) as temporary:
        path = Path(temporary) / url.rpartition("/")[2]
        copy_to(store, url, facts.size, path)
        yield path


def copy_to(store: Store, url: str, size: int, path: Path) -> str:
    """Copy an object of `size` bytes into a file, and give its xxh3-64 in hex. Raises FileNotFoundError, StoreError."""
    total = xxhash.xxh3_64()
    with path.open("wb") as copy:
        for data in pieces_of(store, url, size):
            total.update(data)
            copy.write(data)
    return total.hexdigest()


def pieces_of(store: Store, url: str, size: int) -> Iterator[bytes]:
    """The bytes of an object, a piece at a time."""
    for start in range(0, size, COPY_BYTES):
        yield store.read(url, start, min(COPY_BYTES, size - start))
