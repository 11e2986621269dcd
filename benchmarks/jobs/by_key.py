def mapper(line):
    key, _, value = line.partition("\t")
    yield key, value


def reducer(key, values):
    count = size = 0
    for value in values:
        count += 1
        size += len(value)
    yield key, (count, size)
