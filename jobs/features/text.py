"""Texts -> sparse vectors of a fixed length, by hashing: words and runs of words, no vocabulary to build or to ship.

The hashing trick, with signs, is that of Weinberger, Dasgupta, Langford, Smola and Attenberg, "Feature hashing for
large scale multitask learning" (2009): a feature's hash says its place in the vector and its sign. The signs make what
collides cancel out on average, so that the inner product of two vectors is that of the counts, in expectation.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import xxhash

from mapreduce import Context

WORD = re.compile(r"\w+")
SIGN = 1 << 63  # the hash's highest bit; its lowest are the place, so that the two have nothing to do with each other
BITS = 30  # at most: a vector's places are numbers that every library of sparse matrices takes

Counts = dict[int, int]  # place -> signed count
Sparse = dict[str, list[int] | list[float]]  # {"indices": ascending, "values": as many}


def tokens(text: str) -> list[str]:
    """Give the words of a text in lower case, in order."""
    return WORD.findall(text.lower())


def ngrams(words: list[str], longest: int) -> Iterator[str]:
    """Yield each run of 1 to `longest` words, the words with a space in between (which no word has)."""
    for length in range(1, longest + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def hashed(features: Iterable[str], bits: int) -> Counts:
    """Count features into 2**bits places, each with its sign; a place whose features cancel out is left out.

    The hash is XXH3: the same on every machine and in every Python, unlike `hash(str)`. Raises ValueError for a number
    of bits that makes no vector.
    """
    if not 1 <= bits <= BITS:
        msg = f"bits={bits}: a vector of 2**bits places has from 1 to {BITS}"
        raise ValueError(msg)
    places: Counts = {}
    mask = (1 << bits) - 1
    for feature, n in Counter(features).items():
        number = xxhash.xxh3_64_intdigest(feature.encode("utf-8", "surrogatepass"))
        place = number & mask
        places[place] = places.get(place, 0) + (-n if number & SIGN else n)
    return {place: n for place, n in places.items() if n}


def unit(weights: Mapping[int, float]) -> Sparse:
    """Scale a vector that has a weight to length 1; the same for any order of `weights`."""
    norm = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
    places = sorted(weights)
    return {"indices": places, "values": [weights[place] / norm for place in places]}


def counts(path: str, text: str, *, ctx: Context, longest: int = 2, bits: int = 18) -> Iterator[tuple[str, Counts]]:
    """Yield a document's path and its hashed counts; documents without a word have no vector and are counted."""
    ctx.counters["documents"] += 1
    found = hashed(ngrams(tokens(text), longest), bits)
    if found:
        yield path, found
    else:
        ctx.counters["documents without words"] += 1


def vectors(path: str, text: str, *, ctx: Context, longest: int = 2, bits: int = 18) -> Iterator[tuple[str, Sparse]]:
    """Yield a document's path and its hashed counts, scaled to length 1."""
    for name, found in counts(path, text, ctx=ctx, longest=longest, bits=bits):
        yield name, unit(found)


def by_place(path: str, found: Counts) -> Iterator[tuple[int, tuple[str, int]]]:
    """Bring together the documents that have something at a place."""
    for place, n in found.items():
        yield place, (path, n)


def weigh(place: int, uses: Iterable[tuple[str, int]], *, ctx: Context) -> Iterator[tuple[str, tuple[int, float]]]:
    """Weigh a place in each document that has it by ln(D / d) as in `tfidf`; what every document has is left out."""
    held = list(uses)
    idf = math.log(ctx.previous.counters["documents"] / len(held))
    if idf:
        for path, n in held:
            yield path, (place, n * idf)


def together(path: str, weighted: Iterable[tuple[int, float]]) -> Iterator[tuple[str, Sparse]]:
    """Yield a document's vector, scaled to length 1."""
    yield path, unit(dict(weighted))
