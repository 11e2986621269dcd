"""What the demos should give, in a dozen lines of plain Python each: independent of the engine."""

import math
import re
from collections import Counter, defaultdict
from pathlib import Path


def lines_of(path):
    """The records of a text file: cut at newlines only, a carriage return before one dropped, no byte-order mark."""
    text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def word_count(paths):
    """Word -> count."""
    counts = Counter()
    for path in paths:
        for line in lines_of(path):
            counts.update(line.split())
    return dict(counts)


def inverted_index(paths):
    """Word -> sorted list of [file name, count]."""
    index = defaultdict(Counter)
    for path in paths:
        for line in lines_of(path):
            for word in line.split():
                index[word][path.name] += 1
    return {word: [[name, files[name]] for name in sorted(files)] for word, files in index.items()}


def tf_idf(paths):
    """File name -> list of [word, weight], scaled to length 1."""
    documents = {}
    for path in paths:
        words = [word for line in lines_of(path) for word in re.findall(r"\w+", line.lower())]
        if words:
            documents[path.name] = Counter(words)
    total = sum(1 for path in paths if path.stat().st_size)
    df = Counter(word for counts in documents.values() for word in counts)
    vectors = {}
    for name, counts in documents.items():
        length = counts.total()
        weights = {w: n / length * math.log(total / df[w]) for w, n in sorted(counts.items())}
        weights = {w: x for w, x in weights.items() if x}
        norm = math.sqrt(math.fsum(x * x for x in weights.values()))
        vectors[name] = [[w, x / norm] for w, x in weights.items()]
    return vectors


def files_below(folder):
    """All files of a folder, sorted by path."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def bytes_of(output):
    """File name -> bytes, of all that a job promises to be the same every time: parts and manifest."""
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(output).iterdir())
        if path.name.startswith("part-") or path.name == "_SUCCESS"
    }
