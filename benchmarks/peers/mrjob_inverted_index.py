import json
from collections import Counter
from os.path import basename

from mrjob.compat import jobconf_from_env
from mrjob.job import MRJob
from mrjob.protocol import RawProtocol


class InvertedIndex(MRJob):
    OUTPUT_PROTOCOL = RawProtocol

    def mapper(self, _, line):
        name = basename(jobconf_from_env("mapreduce.map.input.file"))
        for word in line.split():
            yield word, name

    def reducer(self, word, names):
        yield word, json.dumps(sorted(Counter(names).items()), separators=(",", ":"))


if __name__ == "__main__":
    InvertedIndex.run()
