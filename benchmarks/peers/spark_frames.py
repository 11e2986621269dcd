import arguments
import spark
from pyspark.sql import functions as sql


def word_count(session, asked):
    words = session.read.text(asked.inputs).select(sql.explode(sql.split("value", " ")).alias("word"))
    return words.groupBy("word").count().select(sql.concat_ws("\t", "word", "count"))


def terasort(session, asked):
    return session.read.text(asked.inputs).sort("value")


def measurements(session, asked):
    rows = session.read.csv(asked.inputs, sep=";", schema="station STRING, degrees DOUBLE")
    found = rows.groupBy("station").agg(sql.min("degrees"), sql.avg("degrees"), sql.max("degrees"))
    return found.select(sql.concat_ws("\t", *found.columns))


def join(session, asked):
    orders = session.read.csv(asked.inputs[:-1], sep="\t", schema="user STRING, amount LONG")
    users = session.read.csv(asked.inputs[-1], sep="\t", schema="user STRING, country STRING")
    return orders.join(users, "user").select(sql.format_string('%s\t[%d,"%s"]', "user", "amount", "country"))


WORKS = {work.__name__: work for work in (word_count, terasort, measurements, join)}


def main():
    asked = arguments.parse(WORKS)
    session = spark.session(asked.processes)
    WORKS[asked.work](session, asked).write.text(asked.output)
    session.stop()


if __name__ == "__main__":
    main()
