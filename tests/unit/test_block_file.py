from __future__ import annotations

import random
from pathlib import Path

import pytest

from mapreduce.dataflow.columns.batches import Batch, Lane, make_batch, records_of, regroup
from mapreduce.dataflow.columns.lane import Layout
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, Slice, open_slice, read_blocks, read_index
from mapreduce.errors import CorruptBlockError, DiskFullError, InputLostError
from mapreduce.plan import AttemptId, TaskId, TaskKind
from mapreduce.protocol import plain

PRODUCER = AttemptId(TaskId("job", 0, TaskKind.MAP, 3), 7)


def written(path: Path, batches: list[tuple[int, Batch]], **options) -> Path:
    writer = BlockFileWriter(path, **options)
    for partition, batch in batches:
        writer.write(partition, batch)
    writer.close()
    return path


def all_records(part: Slice) -> list:
    return [pair for batch in read_blocks(part) for pair in records_of(batch)]


def whole_file(path: Path) -> list:
    index = read_index(path)
    return [all_records(index.slice(partition)) for partition in range(len(index.partitions))]


def text_batch(rows: int, start: int = 0) -> Batch:
    return make_batch([f"key {start + i}" for i in range(rows)], list(range(rows)))


def test_partitions_come_back_as_they_were_written(tmp_path):
    """Each partition gives back its records in order; one that nothing was written to is empty."""
    batches = [(0, text_batch(100)), (2, text_batch(5)), (2, text_batch(6, 5))]
    path = written(tmp_path / "run", batches, partitions=4, block=500)
    assert all_records(open_slice(path, 0)) == list(records_of(text_batch(100)))
    assert all_records(open_slice(path, 1)) == all_records(open_slice(path, 3)) == []
    assert [key for key, _ in all_records(open_slice(path, 2))] == [f"key {i}" for i in range(11)]


def test_blocks_are_filled_and_no_larger_than_asked(tmp_path):
    """However small or large the batches, blocks hold nearly `block` raw bytes, and not more."""
    large = text_batch(200)
    small = [(0, Batch(large.frame.slice(i, 1), large.key_lane, large.value_lane)) for i in range(200)]
    for name, batches in (("small", small), ("large", [(0, large)])):
        path = written(tmp_path / name, batches, block=1000)
        raws = [block.raw for block in open_slice(path, 0).blocks]
        assert max(raws) <= 1000
        assert all(raw > 900 for raw in raws[:-1])
    assert (tmp_path / "small").read_bytes() == (tmp_path / "large").read_bytes()


def test_a_record_larger_than_a_block_is_a_block_of_its_own(tmp_path):
    """A large record shares its block with no other."""
    batch = make_batch(["a", "b", "c"], ["small", "x" * 5000, "small"])
    part = open_slice(written(tmp_path / "run", [(0, batch)], block=1000), 0)
    assert [block.records for block in part.blocks] == [1, 1, 1]
    assert all_records(part) == list(records_of(batch))


@pytest.mark.parametrize("values", [list(range(3000)), [f"value {i}" for i in range(3000)], [None] * 3000])
def test_a_long_list_is_continued_over_blocks(tmp_path, values):
    """A grouped row larger than a block becomes several rows with the same key, none larger than a block."""
    batch = regroup(make_batch(["a", *["b"] * len(values), "c"], [0, *values, 1]))
    part = open_slice(written(tmp_path / "run", [(0, batch)], layout=Layout.GROUPED, block=1000), 0)
    assert all(block.raw <= 1000 for block in part.blocks)
    assert all_records(part) == list(records_of(batch))


def test_a_huge_key_does_not_make_a_block_of_every_value(tmp_path):
    """Where the key alone outgrows a block, its values still come many at a time."""
    batch = regroup(make_batch(["k" * 3000] * 1000, list(range(1000))))
    part = open_slice(written(tmp_path / "run", [(0, batch)], layout=Layout.GROUPED, block=1000), 0)
    assert len(part.blocks) < 20
    assert all_records(part) == list(records_of(batch))


def test_a_slice_of_large_columns_takes_its_own_bytes_only(tmp_path):
    """A few rows cut out of long string and list columns don't drag the whole columns into the file."""
    large = make_batch([f"{i:0100}" for i in range(20_000)], [f"{i:0100}" for i in range(20_000)])
    for name, batch in (("rows", large), ("lists", regroup(large))):
        few = Batch(batch.frame.slice(777, 3), batch.key_lane, batch.value_lane, batch.grouped)
        path = written(tmp_path / name, [(0, few)], layout=batch.layout)
        assert path.stat().st_size < 4000
        assert all_records(open_slice(path, 0)) == list(records_of(few))


def test_batches_of_differing_lanes_meet(tmp_path):
    """A file without given lanes takes whatever comes, and reads in the lanes where all of it meets."""
    batches = [make_batch(["a"], [1]), make_batch([1], [2.5]), make_batch([(None,)], ["\ud800"])]
    path = written(tmp_path / "part", [(0, batch) for batch in batches], block=1)
    part = open_slice(path, 0)
    assert (part.key_lane, part.value_lane) == (Lane.ENCODED, Lane.ENCODED)
    assert all_records(part) == [("a", 1), (1, 2.5), ((None,), "\ud800")]


def test_equal_records_make_equal_bytes_and_digests(tmp_path):
    """Files and digests are functions of the records; the digest of a partition tells a changed one."""
    infos = []
    for name, last in (("a", 1), ("b", 1), ("c", 2)):
        writer = BlockFileWriter(tmp_path / name, partitions=2)
        writer.write(0, text_batch(50))
        writer.write(1, make_batch(["x"], [last]))
        infos.append(writer.close())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert infos[0] == infos[1]
    assert infos[0].digests[:8] == infos[2].digests[:8]
    assert infos[0].digests[8:] != infos[2].digests[8:]
    assert (infos[0].size, infos[0].records) == ((tmp_path / "a").stat().st_size, 51)


def test_incompressible_blocks_are_written_as_they_are(tmp_path):
    """After a block of random bytes the next ones are not compressed; what can be compressed is found again."""
    noise = random.Random(5)
    random_bytes = make_batch(list(range(19)), [noise.randbytes(1000) for _ in range(19)])
    same_bytes = make_batch(list(range(400)), [b"same" * 250] * 400)
    path = written(tmp_path / "run", [(0, random_bytes), (1, same_bytes)], partitions=2, block=20_000)
    blocks = open_slice(path, 1).blocks[:-1]  # the last one is small
    assert [block.length < block.raw / 2 for block in blocks] == [False] * 15 + [True] * (len(blocks) - 15)
    assert len(blocks) > 16
    assert all_records(open_slice(path, 0)) == list(records_of(random_bytes))
    assert all_records(open_slice(path, 1)) == list(records_of(same_bytes))


def test_a_copied_range_reads_like_the_original(tmp_path):
    """The byte range of one partition can be copied elsewhere, and its slice sent as plain data."""
    batches = [(0, text_batch(30)), (1, text_batch(40)), (2, text_batch(5))]
    path = written(tmp_path / "run", batches, partitions=4, block=300)
    part = plain.unpack(Slice, plain.pack(read_index(path).slice(1, PRODUCER)))
    offset, length = part.byte_range
    copy = tmp_path / "copy"
    copy.write_bytes(b"....." + path.read_bytes()[offset : offset + length])
    moved = part.relocated(str(copy), 5)
    assert all_records(moved) == list(records_of(text_batch(40)))
    assert moved.producer == PRODUCER
    empty = read_index(path).slice(3)
    assert empty.byte_range == (0, 0)
    assert all_records(empty.relocated(str(copy))) == []


def test_every_flipped_byte_of_a_small_file_is_found(tmp_path):
    """Whichever byte of a file changes, reading all of it raises CorruptBlockError with file and byte range."""
    path = written(tmp_path / "run", [(0, text_batch(3)), (1, text_batch(2))], partitions=2, block=100)
    good = path.read_bytes()
    for position in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(good)
            data[position] ^= flip
            path.write_bytes(data)
            with pytest.raises(CorruptBlockError, match=r"run: bytes \d+ to \d+: "):
                whole_file(path)


def test_random_flips_in_a_larger_file_are_found(tmp_path):
    """A single flipped bit in a file of many blocks is found, and the error's range holds it."""
    path = written(tmp_path / "run", [(0, text_batch(5000))], block=5000)
    good = path.read_bytes()
    part = open_slice(path, 0)
    noise = random.Random(11)
    for _ in range(60):
        position = noise.randrange(part.blocks[0].offset, part.blocks[-1].offset + part.blocks[-1].length)
        data = bytearray(good)
        data[position] ^= 1 << noise.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CorruptBlockError) as caught:
            all_records(part)
        words = str(caught.value).split("bytes ")[1].split(":")[0].split(" to ")
        assert int(words[0]) <= position < int(words[1])


@pytest.mark.parametrize("keep", [0, 5, 40, 0.5, -1])
def test_a_file_that_was_cut_off_is_found(tmp_path, keep):
    """Any beginning of a file is an error, not fewer records."""
    path = written(tmp_path / "run", [(0, text_batch(1000))])
    good = path.read_bytes()
    part = open_slice(path, 0)
    path.write_bytes(good[: int(len(good) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CorruptBlockError):
        open_slice(path, 0)
    if keep != -1:
        with pytest.raises(CorruptBlockError, match="cut off"):
            all_records(part)


def test_a_file_of_another_version_is_refused(tmp_path):
    """A file of a version that this engine doesn't read says both versions."""
    path = written(tmp_path / "run", [(0, text_batch(1))])
    data = bytearray(path.read_bytes())
    data[-16] = 9
    path.write_bytes(data)
    with pytest.raises(CorruptBlockError, match="version 9 of the format, this engine reads 2"):
        read_index(path)


def test_a_lost_file_names_its_producer(tmp_path):
    """Whatever is wrong with a file whose producer is known, that attempt's result is lost."""
    path = written(tmp_path / "run", [(0, text_batch(10))])
    part = open_slice(path, 0, PRODUCER)
    path.write_bytes(path.read_bytes()[:-30].replace(b"key", b"kex"))
    for broken in (lambda: open_slice(path, 0, PRODUCER), lambda: all_records(part)):
        with pytest.raises(InputLostError, match=str(path)) as caught:
            broken()
        assert caught.value.producer == PRODUCER
    path.unlink()
    for broken in (lambda: open_slice(path, 0, PRODUCER), lambda: all_records(part)):
        with pytest.raises(InputLostError, match="No such file"):
            broken()
    with pytest.raises(FileNotFoundError):
        open_slice(path, 0)


def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path):
    """Writing to a full device raises DiskFullError with the folder's name; the file is gone."""
    for rows in (1, 50_000):  # the first fails when the file is closed, the second while blocks are written
        path = tmp_path / "run"
        path.symlink_to("/dev/full")
        with pytest.raises(DiskFullError, match=str(tmp_path)):
            written(path, [(0, text_batch(rows))], block=10_000)
        assert list(tmp_path.iterdir()) == []


def test_other_failures_stay_what_they_are(tmp_path):
    """A folder that doesn't exist is not a full disk."""
    with pytest.raises(FileNotFoundError):
        BlockFileWriter(tmp_path / "nowhere" / "run")


def test_an_aborted_file_is_removed(tmp_path):
    """After `abort` there is no file, and nothing can be written."""
    writer = BlockFileWriter(tmp_path / "run")
    writer.write(0, text_batch(3))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="after its end"):
        writer.close()


def test_misuse_is_refused(tmp_path):
    """Partitions out of order, or grouped rows in a file of ungrouped ones, are errors."""
    writer = BlockFileWriter(tmp_path / "run", partitions=2)
    writer.write(1, text_batch(1))
    with pytest.raises(ValueError, match="partition 0 after 1, of 2"):
        writer.write(0, text_batch(1))
    with pytest.raises(ValueError, match="layout is rows, that of the batch is grouped"):
        writer.write(1, regroup(text_batch(1)))
    writer.abort()
