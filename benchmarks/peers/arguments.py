"""What every peer is called with: INPUT... OUTPUT --processes N, and the work before, where a program does several."""

import argparse


def parse(works=()):
    parser = argparse.ArgumentParser()
    if works:
        parser.add_argument("work", choices=works)
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("output")
    parser.add_argument("--processes", type=int, required=True)
    return parser.parse_args()
