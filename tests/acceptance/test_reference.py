"""The demos over real text: equal to plain Python, and the same bytes however they are run."""

import json
import re
from pathlib import Path

import pytest
from cluster import mapreduce
from reference import bytes_of, files_below, inverted_index, tf_idf, word_count

import mapreduce as engine

JOBS = Path(__file__).parents[2] / "jobs"
DEMOS = {"word_count": word_count, "inverted_index": inverted_index, "feature_extraction": tf_idf}
SPLIT_SIZES = {"tiny": "20KB", "huge": "64MB"}
REDUCERS = range(1, 8)
SLOTS = (1, 2, 4)  # of local runs, one after the other over the numbers of reducers


def unescaped(text):
    """A str as it was before TSV: a backslash stands before t, n, r or another backslash."""
    return re.sub(r"\\(.)", lambda found: {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[found.group(1)], text)


def records_of(output):
    """Key -> value, read from the TSV parts by hand; values are JSON."""
    found = {}
    for part in sorted(Path(output).glob("part-*")):
        for line in part.read_bytes().decode("utf-8").split("\n")[:-1]:
            escaped, value = line.split("\t")
            key = unescaped(escaped)
            assert key not in found
            found[key] = json.loads(value)
    return found


@pytest.mark.parametrize("split", SPLIT_SIZES)
@pytest.mark.parametrize("demo", DEMOS)
def test_every_runner_gives_the_reference_and_the_same_bytes(demo, split, texts, cluster, tmp_path):
    """Each demo equals plain Python for 1 to 7 reducers, and inline, tcp and local (1, 2, 4 slots) agree in bytes."""
    expected = DEMOS[demo](files_below(texts))
    target = JOBS / f"{demo}.py"
    for reducers in REDUCERS:
        runners = {
            "inline": {},
            "cluster": {"coordinator": cluster.address},
            "local": {"slots": SLOTS[reducers % len(SLOTS)]},
        }
        outputs = {}
        for runner, options in runners.items():
            output = tmp_path / f"{runner}-{reducers}"
            engine.run(
                str(target),
                str(texts),
                output,
                runner=runner,
                reducers=reducers,
                split_size=SPLIT_SIZES[split],
                **options,
            )
            outputs[runner] = bytes_of(output)
            assert not [name.name for name in output.iterdir() if name.name.startswith("_tmp")]
        assert records_of(tmp_path / f"inline-{reducers}") == expected
        assert len(outputs["inline"]) == reducers + 1
        assert all(found == outputs["inline"] for found in outputs.values())


def test_slots_and_repetition_change_nothing(texts, tmp_path):
    """The inverted index with 1, 2 and 4 slots, and once more with 4, is the same to the byte."""
    seen = []
    for number, slots in enumerate((1, 2, 4, 4)):
        output = tmp_path / str(number)
        mapreduce("run", "@inverted_index", texts, "-o", output, "-j", slots, "--reducers", 3, "--split-size", "8KB")
        seen.append(bytes_of(output))
    assert all(other == seen[0] for other in seen[1:])
