from mrjob.job import MRJob
from mrjob.protocol import RawProtocol


def merge(parts):
    least, most, degrees, number = zip(*parts, strict=True)
    return min(least), max(most), sum(degrees), sum(number)


class Measurements(MRJob):
    OUTPUT_PROTOCOL = RawProtocol

    def mapper(self, _, line):
        station, degrees = line.split(";")
        degrees = float(degrees)
        yield station, (degrees, degrees, degrees, 1)

    def combiner(self, station, parts):
        yield station, merge(parts)

    def reducer(self, station, parts):
        least, most, degrees, number = merge(parts)
        yield station, f"{least}\t{degrees / number}\t{most}"


if __name__ == "__main__":
    Measurements.run()
