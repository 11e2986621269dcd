"""S3, and stores that speak like it: uploads in parts that are tried again one by one, checksums noted with objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any, TypeVar

from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.errors import ShortRead, persistently, status_of
from mapreduce.dataflow.stores.store import Facts, Small, version_of
from mapreduce.errors import StoreError
from mapreduce.urls import join

PART_BYTES = 32 << 20  # of a large upload: a cut connection costs a few seconds; S3's own least is 5 MiB
MOST_PARTS = 10_000  # S3's own bound: larger files get larger parts
CHECKSUM_NAME = "mapreduce-xxh3"  # of the note with an object ("user-defined metadata")
CONNECT_S = 5  # a server that is there answers at once
READ_S = 30  # without a byte: then the request is tried again
LOOK_S = 1.0  # a signal that comes just before the waiting begins is seen only when it ends
NO_CONDITIONS = 501  # the answer of a store that knows none
NO_LISTS = frozenset({403, 405, 501})  # answers of stores that list no unfinished uploads, or not to everybody

log = logging.getLogger("mapreduce.store")

T = TypeVar("T")


class S3Store(FsspecStore):
    """S3 by way of s3fs. Tries are counted here alone: those of s3fs and botocore would multiply ours."""

    def __init__(self, scheme: str) -> None:
        """Set s3fs up; endpoint and credentials come from the environment, as every program of AWS reads it."""
        import fsspec.config  # noqa: PLC0415 - as in FsspecStore

        theirs = {
            name: value
            for protocol in ("s3", "s3a")
            for name, value in fsspec.config.conf.get(protocol, {}).get("config_kwargs", {}).items()
        }
        ours = {"retries": {"total_max_attempts": 1}, "connect_timeout": CONNECT_S, "read_timeout": READ_S}
        super().__init__(scheme, config_kwargs={**ours, **theirs})
        self._fs.retries = 1
        self._part_bytes = PART_BYTES

    def _place(self, url: str) -> dict[str, str]:
        # Not by `split_path`, which takes a part of some keys ("x?versionId=3") for something else.
        bucket, key = self._fs._find_bucket_key(url.partition("://")[2])  # noqa: SLF001 - knows access points
        return {"Bucket": bucket, "Key": key}

    def _call(self, method: str, **arguments: Any) -> Coroutine[Any, Any, Any]:
        found: Coroutine[Any, Any, Any] = self._fs._call_s3(method, **arguments)  # noqa: SLF001 - see `_wait`
        return found

    def _wait(self, request: Coroutine[Any, Any, T]) -> T:
        """Have a request made, and wait. Not by the driver's own way: there it goes on when the waiting is stopped."""
        loop: asyncio.AbstractEventLoop = self._fs.loop
        tasks: list[asyncio.Task[Any] | None] = []

        async def noted() -> T:
            tasks.append(asyncio.current_task())
            return await request

        def cancel() -> None:
            for task in tasks:
                if task is not None:
                    task.cancel()

        try:
            future = asyncio.run_coroutine_threadsafe(noted(), loop)
            while not wait((future,), LOOK_S).done:
                pass
            return future.result()
        except BaseException:
            # Ctrl-C, too: an object that comes to be afterwards would be nobody's. It may have come before there was a
            # future in our hands; a round later the task is noted.
            loop.call_soon_threadsafe(loop.call_soon, cancel)
            raise

    def _ask(self, what: str, url: str, method: str, **arguments: Any) -> Any:
        return persistently(what, url, lambda: self._wait(self._call(method, **arguments)))

    def _get(self, url: str, size: int | None = None, **how: str) -> tuple[bytes, str]:
        """An object's bytes, of which there must be `size`, and its tag."""

        async def get() -> tuple[bytes, str]:
            answer = await self._call("get_object", **self._place(url), **how)
            try:
                data = await answer["Body"].read()
            finally:
                answer["Body"].close()
            if size is not None and len(data) != size:
                raise ShortRead(f"{len(data)} bytes came, and {size} were asked for")
            return data, answer["ETag"]

        return persistently("read", url, lambda: self._wait(get()))

    def facts(self, url: str) -> Facts | None:
        """What there is at a URL; None if there is no object."""
        place = self._place(url)
        if not place["Key"] or place["Key"].endswith("/"):
            return None
        try:
            answer = self._ask("read", url, "head_object", **place)
        except FileNotFoundError:
            return None
        return _facts_of(answer["ContentLength"], answer["ETag"])

    def below(self, url: str) -> Iterator[tuple[str, Facts]]:
        """Yield the URLs of all objects below a folder, and their facts."""
        for page in self._pages(url):
            for found in page.get("Contents", []):
                name = found["Key"][len(page["Prefix"]) :]
                if name and not name.endswith("/"):
                    yield join(url, name), _facts_of(found["Size"], found["ETag"])

    def names(self, url: str) -> list[str]:
        """The first components of the names of all objects below a folder, sorted; folders end in a slash."""
        names: set[str] = set()
        for page in self._pages(url, Delimiter="/"):
            found = [one["Key"] for one in page.get("Contents", [])]
            found += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
            names.update(name[len(page["Prefix"]) :] for name in found)
        return sorted(names - {""})

    def _pages(self, url: str, **how: str) -> Iterator[dict[str, Any]]:
        """The pages of a list of the objects below a folder. Raises StoreError for a bucket that is not there."""
        place = self._place(url)
        folder = place["Key"].rstrip("/")
        where = {"Bucket": place["Bucket"], "Prefix": f"{folder}/" if folder else "", **how}
        more: dict[str, str] = {}
        while True:
            try:
                page = self._ask("listed", url, "list_objects_v2", **where, **more)
            except FileNotFoundError as error:
                raise self._no_bucket("listed", url) from error
            yield {**page, "Prefix": where["Prefix"]}
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _no_bucket(self, what: str, url: str) -> StoreError:
        return StoreError(f"{url} cannot be {what}: there is no bucket {self._place(url)['Bucket']}")

    def read(self, url: str, start: int, size: int) -> bytes:
        """Give a range of an object, which must be in it."""
        return self._get(url, size, Range=f"bytes={start}-{start + size - 1}")[0] if size else b""

    def read_small(self, url: str) -> bytes | None:
        """Give a small object as it was at one moment; None if there is none."""
        return self.look(url).data

    def look(self, url: str) -> Small:
        """Give a small object as it was at one moment, with its tag."""
        try:
            return Small(*self._get(url))
        except FileNotFoundError:
            return Small(None)

    def replace(self, url: str, data: bytes, seen: Small) -> None:
        """Make an object of these bytes in place of the one that was seen, or where none was.

        Raises FileExistsError if that is not what is there any more; a store that knows no conditions writes at once.
        """
        condition = {"IfNoneMatch": "*"} if seen.data is None else {"IfMatch": seen.tag}
        try:
            self._ask("written", url, "put_object", **self._place(url), Body=data, **condition)
        except FileNotFoundError as error:
            if seen.data is None:
                raise self._no_bucket("written", url) from error
            raise FileExistsError(f"{url} was removed") from error
        except StoreError as error:
            if status_of(error.__cause__) != NO_CONDITIONS:
                raise
            self.write(url, data)

    def remove_seen(self, url: str, seen: Small) -> None:
        """Remove the object that was seen. Raises as `replace` does; that it is gone already is no error."""
        if seen.data is None:
            return
        try:
            self._ask("removed", url, "delete_object", **self._place(url), IfMatch=seen.tag)
        except FileNotFoundError:
            return
        except StoreError as error:
            if status_of(error.__cause__) != NO_CONDITIONS:
                raise
            self.remove(url)

    def write(self, url: str, data: bytes) -> None:
        """Make an object of these bytes, in place of one that may be there."""
        self._put(url, {**self._place(url), "Body": data})

    def _put(self, url: str, what: dict[str, Any]) -> None:
        try:
            self._ask("written", url, "put_object", **what)
        except FileNotFoundError as error:
            raise self._no_bucket("written", url) from error

    def upload(self, path: Path, url: str, checksum: str) -> None:
        """Make an object of a local file, with its checksum as a note; large ones in parts, one after another."""
        noted = {**self._place(url), "Metadata": {CHECKSUM_NAME: checksum}}
        size = path.stat().st_size
        part_bytes = max(self._part_bytes, -(-size // MOST_PARTS))
        with path.open("rb") as file:
            if size <= part_bytes:
                self._put(url, {**noted, "Body": file.read()})
                return
            upload = {**self._place(url), "UploadId": self._ask_upload(url, noted)}
            try:
                tags = self._send_parts(url, upload, lambda: file.read(part_bytes))
                self._ask("written", url, "complete_multipart_upload", **upload, MultipartUpload={"Parts": tags})
            except FileNotFoundError as error:
                # A try whose answer was lost may have ended the upload: then the object is there, as noted.
                if self.facts(url) is None or self.checksum(url) != checksum:
                    raise StoreError(f"{url} cannot be written: its upload was ended by another program") from error
            except BaseException:
                self._forget(url, upload)
                raise

    def _ask_upload(self, url: str, noted: dict[str, Any]) -> str:
        try:
            return str(self._ask("written", url, "create_multipart_upload", **noted)["UploadId"])
        except FileNotFoundError as error:
            raise self._no_bucket("written", url) from error

    def _send_parts(self, url: str, upload: dict[str, str], read: Callable[[], bytes]) -> list[dict[str, Any]]:
        tags: list[dict[str, Any]] = []
        while data := read():
            number = len(tags) + 1
            answer = self._ask("written", url, "upload_part", **upload, PartNumber=number, Body=data)
            tags.append({"PartNumber": number, "ETag": answer["ETag"]})
        return tags

    def checksum(self, url: str) -> str | None:
        """The noted xxh3-64 of an object; None if none is noted."""
        noted: str | None = (
            self._ask("read", url, "head_object", **self._place(url)).get("Metadata", {}).get(CHECKSUM_NAME)
        )
        return noted

    def remove(self, url: str) -> None:
        """Remove an object, if it is there."""
        self._ask("removed", url, "delete_object", **self._place(url))

    def forget_uploads(self, folder: str, mark: str) -> None:
        """Drop what unfinished uploads to below a folder have left, of objects with `mark` in their names."""
        place = self._place(f"{folder.rstrip('/')}/")
        bucket, prefix = place["Bucket"], place["Key"]
        more: dict[str, str] = {}
        while True:
            try:
                answer = self._ask("listed", folder, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **more)
            except StoreError as error:
                if status_of(error.__cause__) not in NO_LISTS:
                    raise
                # What may lie there is no part of any output, and costs little: no reason to fail.
                log.warning("unfinished uploads to %s may be left over: %s", folder, error)
                return
            for upload in answer.get("Uploads", []):
                if mark in upload["Key"][len(prefix) :]:
                    self._forget(folder, {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]})
            if not answer.get("IsTruncated"):
                return
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def _forget(self, folder: str, upload: dict[str, str]) -> None:
        try:
            self._ask("removed", folder, "abort_multipart_upload", **upload)
        except FileNotFoundError:
            return  # it was ended, or another cleaner was quicker


def _facts_of(size: int, tag: str) -> Facts:
    return Facts(size, version_of({"ETag": tag, "size": size}))
