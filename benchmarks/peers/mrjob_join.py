from os.path import basename

from mrjob.compat import jobconf_from_env
from mrjob.job import MRJob
from mrjob.protocol import RawProtocol


class Joined(MRJob):
    OUTPUT_PROTOCOL = RawProtocol
    SORT_VALUES = True  # the country comes before the amounts

    def mapper(self, _, line):
        user, field = line.split("\t")
        if basename(jobconf_from_env("mapreduce.map.input.file")).startswith("users"):
            yield user, (0, field)
        else:
            yield user, (1, int(field))

    def reducer(self, user, fields):
        country = None
        for kind, field in fields:
            if kind == 0:
                country = field
            elif country is not None:
                yield user, f'[{field},"{country}"]'


if __name__ == "__main__":
    Joined.run()
