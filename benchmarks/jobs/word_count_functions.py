def mapper(line):
    for word in line.split():
        yield word, 1


def reducer(word, counts):
    yield word, sum(counts)


def combiner(word, counts):
    yield word, sum(counts)
