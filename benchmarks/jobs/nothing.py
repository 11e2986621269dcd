"""Tasks that do nothing: a record each, and no results."""

from mapreduce import FixedLength, Job, Sum

LENGTH = 16


def mapper(_record):
    return []


job = Job(mapper, reducer=Sum(), input=FixedLength(LENGTH))
