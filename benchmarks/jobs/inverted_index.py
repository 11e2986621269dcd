from collections import Counter
from functools import cache
from os.path import basename

name = cache(basename)


def mapper(line, *, ctx):
    document = name(ctx.path)
    for word in line.split():
        yield word, document


def reducer(word, documents):
    yield word, sorted(Counter(documents).items())
