"""Compressed inputs are read to the end of their last member, or refused."""

import bz2
import gzip
import io
import lzma

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.inputs.codecs import WINDOW_BYTES, Codec, codec_of, decompressed
from mapreduce.errors import InputError

PACK = {
    Codec.GZIP: gzip.compress,
    Codec.BZIP2: bz2.compress,
    Codec.XZ: lzma.compress,
    Codec.ZSTD: lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    Codec.LZ4: lambda data: lz4.frame.compress(data, content_checksum=True, block_checksum=True),
}
CODECS = sorted(PACK)


def unpack(data: bytes, codec: Codec, block: int = 1000) -> bytes:
    return b"".join(decompressed(io.BytesIO(data).read, codec, "file", block))


@settings(deadline=None)
@given(codec=st.sampled_from(CODECS), members=st.lists(st.binary(max_size=200), min_size=1), block=st.integers(1, 300))
def test_members_in_order(codec, members, block):
    """The contents of all members come out, in order, whatever the block size; empty ones too."""
    data = b"".join(PACK[codec](member) for member in members)
    assert unpack(data, codec, block) == b"".join(members)


@settings(deadline=None)
@given(codec=st.sampled_from(CODECS), cut=st.floats(0, 1, exclude_max=True), several=st.booleans())
def test_truncated(codec, cut, several):
    """A file cut anywhere but between two members is refused, never a shorter input."""
    whole = PACK[codec](bytes(range(256)) * 4)
    length = int(len(whole) * cut)
    if several and length == 0:
        length = 1
    data = (whole if several else b"") + whole[:length]
    with pytest.raises(InputError, match=r"file.*(cut|not a|after its last)"):
        unpack(data, codec)


@pytest.mark.parametrize("codec", CODECS)
def test_trailing_garbage(codec):
    """Something else behind the last member is an error naming its offset."""
    whole = PACK[codec](b"text\n")
    with pytest.raises(InputError, match=f"at byte {len(whole)}"):
        unpack(whole + b"garbage!", codec)


def pack_xz(window):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": window}]
    return lzma.compress(b"text\n", lzma.FORMAT_XZ, filters=filters)


def pack_zstd(window):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window.bit_length() - 1)
    packer = zstandard.ZstdCompressor(
        compression_params=parameters
    ).compressobj()  # of a stream, whose end is not known
    return packer.compress(b"text\n") + packer.flush()


@pytest.mark.parametrize(("codec", "pack"), [(Codec.XZ, pack_xz), (Codec.ZSTD, pack_zstd)])
def test_windows_are_bounded(codec, pack):
    """A header cannot make a task hold gigabytes: few bytes with too large a window are refused, and not as damage."""
    assert unpack(pack(WINDOW_BYTES), codec) == b"text\n"
    with pytest.raises(
        InputError, match=f"file: its {codec} data was packed with a window .* more than 128 MB.*Unpack it"
    ):
        unpack(pack(2 * WINDOW_BYTES), codec)


def test_what_xz_packs_at_most_is_read():
    """The largest of the presets, with which archives are made, stays within the bound."""
    assert unpack(lzma.compress(b"text\n", preset=9 | lzma.PRESET_EXTREME), Codec.XZ) == b"text\n"


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.XZ])
def test_padding(codec):
    """Zero bytes behind and between members are padding, as in these formats' own tools."""
    whole = PACK[codec](b"text\n")
    assert unpack(whole + bytes(512) + whole + bytes(200_000), codec) == b"text\ntext\n"


@pytest.mark.parametrize("codec", CODECS)
def test_damaged(codec):
    """A changed byte inside a member is found by its checksum."""
    data = bytearray(PACK[codec](bytes(range(256)) * 40))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(InputError, match="damaged"):
        unpack(bytes(data), codec)


@pytest.mark.parametrize("codec", CODECS)
def test_not_of_this_codec(codec):
    """A file of another kind under this suffix is refused."""
    with pytest.raises(InputError, match=f"not a {codec} file"):
        unpack(b"plain text\n", codec)


@pytest.mark.parametrize("codec", CODECS)
def test_bounded_blocks(codec):
    """A file that expands a thousandfold comes out in blocks near the wanted size."""
    data = PACK[codec](bytes(20_000_000))
    sizes = [len(piece) for piece in decompressed(io.BytesIO(data).read, codec, "file", 100_000)]
    assert sum(sizes) == 20_000_000
    if codec is not Codec.ZSTD:
        assert max(sizes) <= 200_000


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.LZ4])
def test_skippable_frames(codec):
    """Frames that the tools of zstd and lz4 write for themselves are skipped."""
    frame = PACK[codec](b"text\n")
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"meta"
    assert unpack(skippable + frame + skippable + frame, codec) == b"text\ntext\n"


@settings(deadline=None)
@given(
    data=st.binary(max_size=2000),
    repeats=st.integers(1, 100),
    linked=st.booleans(),
    size=st.sampled_from([0, 4, 7]),
    checksum=st.booleans(),
    block=st.integers(1, 3000),
)
def test_every_kind_of_lz4_frame(data, repeats, linked, size, checksum, block):
    """Blocks of every size, linked or not, with checksums and without them, come out as they went in."""
    whole = data * repeats
    packed = lz4.frame.compress(
        whole, block_linked=linked, block_size=size, content_checksum=checksum, store_size=not checksum
    )
    assert unpack(packed, Codec.LZ4, block) == whole


def test_other_lz4_containers_are_refused():
    """The format of old before frames, and bare blocks, are not what the suffix says."""
    with pytest.raises(InputError, match="not a lz4 file"):
        unpack(b"\x02\x21\x4c\x18" + b"\x01\x00\x00\x00x", Codec.LZ4)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.gz", "gzip"),
        ("a.TXT.GZ", "gzip"),
        ("a.bz2", "bzip2"),
        ("a.xz", "xz"),
        ("a.zst", "zstd"),
        ("a.lz4", "lz4"),
        ("a.txt", "none"),
    ],
)
def test_suffixes(name, codec):
    """The suffix tells the codec, in any case."""
    assert codec_of(name) == codec
