from mapreduce import Job, Max, Mean, Min


def mapper(line):
    station, temperature = line.split(";")
    yield station, float(temperature)


job = Job(mapper, reducer={"min": Min(), "mean": Mean(), "max": Max()})
