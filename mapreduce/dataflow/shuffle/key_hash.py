"""The xxh3_64 of many short byte strings at once, in a fraction of the time of a call for each.

As Yann Collet's XXH3 is specified (xxHash, doc/xxhash_spec.md, "XXH3 Algorithm") for 4 to 16 bytes with the seed 0;
whatever is shorter or longer goes through xxhash itself, and a test compares the two.
"""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray

Sizes = NDArray[np.int64]
Words = NDArray[np.uint64]

AT_ONCE = 16_384  # strings: the columns in between stay in the processor's cache
LEAST, MOST = 4, 16  # bytes of a string for which a formula is written here
_WORD, _HALF_WORD = 8, 4  # bytes
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# Of the secret that XXH3 has by default: bytes 8 to 16 xor 16 to 24, 24 to 32 xor 32 to 40, and 40 to 48 xor 48 to 56.
_FLIP_SHORT, _FLIP_FIRST, _FLIP_LAST = map(np.uint64, (0xC73AB174C5ECD5A2, 0x6782737BEA4239B9, 0xAF56BC3B0996523A))
_MIX_SHORT, _MIX_LONG = np.uint64(0x9FB21C651E98DF25), np.uint64(0x165667919E3779F9)


def hashes_of(data: bytes, sizes: Sizes) -> Words:
    """The xxh3_64 of each string of so many bytes; `data` has them one behind the other."""
    result = np.empty(len(sizes), dtype=np.uint64)
    starts = np.cumsum(sizes) - sizes
    for at in range(0, len(sizes), AT_ONCE):
        some = slice(at, at + AT_ONCE)
        _hash(data, starts[some], sizes[some], result[some])
    return result


def _hash(data: bytes, starts: Sizes, sizes: Sizes, into: Words) -> None:
    is_taken = (sizes >= LEAST) & (sizes <= MOST)
    is_short = sizes <= _WORD
    for rows, formula in ((np.flatnonzero(is_taken & is_short), _short), (np.flatnonzero(is_taken & ~is_short), _long)):
        into[rows] = formula(data, starts[rows], sizes[rows])
    others = np.flatnonzero(~is_taken)
    cuts = zip(starts[others].tolist(), (starts + sizes)[others].tolist(), strict=True)
    into[others] = [xxhash.xxh3_64_intdigest(data[start:end]) for start, end in cuts]


def _read(data: bytes, at: Sizes, width: int) -> Words:
    """Unsigned little-endian integers of so many bytes that begin at these places, which are not aligned."""
    everywhere = np.ndarray(max(len(data) - width + 1, 0), dtype=f"<u{width}", buffer=data, strides=(1,))
    return everywhere[at].astype(np.uint64, copy=False)


def _short(data: bytes, starts: Sizes, sizes: Sizes) -> Words:
    """Of 4 to 8 bytes: the first four and the last four."""
    first, last = _read(data, starts, _HALF_WORD), _read(data, starts + sizes - _HALF_WORD, _HALF_WORD)
    mixed = (last + (first << _HALF)) ^ _FLIP_SHORT
    mixed ^= _rotated(mixed, 49) ^ _rotated(mixed, 24)
    mixed *= _MIX_SHORT
    mixed ^= (mixed >> np.uint64(35)) + sizes.astype(np.uint64)
    mixed *= _MIX_SHORT
    return mixed ^ mixed >> np.uint64(28)


def _long(data: bytes, starts: Sizes, sizes: Sizes) -> Words:
    """Of 9 to 16 bytes: the first eight and the last eight."""
    low = _read(data, starts, _WORD) ^ _FLIP_FIRST
    high = _read(data, starts + sizes - _WORD, _WORD) ^ _FLIP_LAST
    mixed: Words = sizes.astype(np.uint64) + low.byteswap() + high + _folded(low, high)
    mixed ^= mixed >> np.uint64(37)
    mixed *= _MIX_LONG
    mixed ^= mixed >> _HALF
    return mixed


def _folded(one: Words, other: Words) -> Words:
    """The 128-bit product, its upper half xor its lower."""
    one_low, one_high, other_low, other_high = one & _LOW, one >> _HALF, other & _LOW, other >> _HALF
    low, cross = one_low * other_low, one_low * other_high
    middle = (low >> _HALF) + (cross & _LOW) + one_high * other_low
    upper: Words = (cross >> _HALF) + (middle >> _HALF) + one_high * other_high
    lower: Words = (middle << _HALF) | (low & _LOW)
    return np.bitwise_xor(upper, lower)


def _rotated(words: Words, bits: int) -> Words:
    rotated: Words = np.bitwise_or(words << np.uint64(bits), words >> np.uint64(64 - bits))
    return rotated
