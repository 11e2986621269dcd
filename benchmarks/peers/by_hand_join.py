"""The last input is the small table, which every process holds as a dict."""

import multiprocessing
from pathlib import Path

import arguments
import pieces

countries = {}


def load(path):
    with open(path, encoding="utf-8") as file:
        countries.update(line.rstrip("\n").split("\t") for line in file)


def join(task):
    output, piece = task
    with open(output, "w", encoding="utf-8") as file:
        for line in pieces.lines(*piece).decode().splitlines():
            user, amount = line.split("\t")
            if user in countries:
                file.write(f'{user}\t[{int(amount)},"{countries[user]}"]\n')


def main():
    asked = arguments.parse()
    *orders, users = asked.inputs
    Path(asked.output).mkdir()
    tasks = ((f"{asked.output}/part-{number:05}", piece) for number, piece in enumerate(pieces.pieces(orders)))
    with multiprocessing.Pool(asked.processes, load, (users,)) as pool:
        for _ in pool.imap_unordered(join, tasks):
            pass


if __name__ == "__main__":
    main()
