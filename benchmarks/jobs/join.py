from mapreduce import Input, Job, Join


def order(line):
    user, amount = line.split("\t")
    yield user, int(amount)


def user(line):
    name, country = line.split("\t")
    yield name, country


job = Job(inputs={"orders": Input(order), "users": Input(user)}, reducer=Join("inner"))
