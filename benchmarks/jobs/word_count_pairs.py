from mapreduce import Job, Sum


def mapper(line):
    for word in line.split():
        yield word, 1


job = Job(mapper, reducer=Sum())
