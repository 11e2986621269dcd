from collections import Counter
from os.path import basename


def mapper(line, *, ctx):
    document = basename(ctx.path)
    for word in line.split():
        yield word, document


def reducer(word, documents):
    yield word, sorted(Counter(documents).items())
