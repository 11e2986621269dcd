"""Whole files as one piece to read."""

from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.plan import Piece


def piece_of(url, start=0, size=None):
    (file,) = find_inputs([url])
    return Piece(file.path, start, file.size - start if size is None else size, file.size, file.version)
