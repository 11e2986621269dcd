"""Bad records, everywhere: put aside by every runner alike, counted, told, and too many of them fail the job."""

import base64
import json
from collections import Counter
from pathlib import Path

import pytest
from cluster import mapreduce as command
from everywhere import die_once, run_everywhere

import mapreduce
from mapreduce import Context, Job, JobFailed, JsonLines, Step


def mapper(document, *, ctx: Context, grave: str = ""):
    """Words by their length; a document without text is no good."""
    ctx.counters["documents"] += 1
    if document["id"] == 50:
        die_once(grave, "mapper")
    for word in document["text"].split():
        yield len(word), word


def lengths(length, words, *, grave: str = ""):
    words = Counter(words)
    yield length, len(words)
    if length == 7:
        die_once(grave, "reducer")
        raise LookupError(f"no words of {length} letters, please: {object()}")


def halves(length, count):
    yield length % 2, count + 6 // (length - 5)


job = Job(
    steps=[
        Step(mapper, reducer=lengths, input=JsonLines()),
        Step(halves, reducer=lambda key, values: [(key, sorted(values))]),
    ],
    reducers=3,
)


def lines():
    """Documents of words of 1 to 9 letters; some lines are none, some have no text, some have bad bytes."""
    for n in range(400):
        if n % 97 == 5:
            yield b'{"id": %d, "text": ' % n
        elif n % 83 == 7:
            yield b'{"id": %d}' % n
        elif n % 131 == 3:
            yield b'{"id": %d, "text": "\xff\xfe"}' % n
        else:
            yield json.dumps({"id": n, "text": " ".join("abcdefghi"[: 1 + (n + k) % 9] for k in range(3))}).encode()


def expected(given):
    """What is bad (offset, kind, bytes), and the results, in plain Python."""
    bad, words, offset = [], {}, 0
    for line in given:
        try:
            for word in json.loads(line.decode())["text"].split():
                words.setdefault(len(word), set()).add(word)
        except UnicodeDecodeError:
            bad.append((offset, "not utf-8", line))
        except json.JSONDecodeError:
            bad.append((offset, "no JSON", line))
        except KeyError:
            bad.append((offset, "KeyError in mapper", line))
        offset += len(line) + 1
    results = {}
    for length, found in words.items():
        if length not in {5, 7}:
            results.setdefault(length % 2, []).append(len(found) + 6 // (length - 5))
    return bad, {key: sorted(values) for key, values in results.items()}


def content_of(one):
    """The bytes of the record that a line of the folder tells of."""
    return base64.b64decode(one["content"]) if one["base64"] else one["content"].encode()


def test_the_same_records_are_put_aside_everywhere(tmp_path, cluster):
    """Inline, locally, over tcp and under kills: the same output, and the same folder of bad records, byte by byte."""
    path = tmp_path / "in.jsonl"
    given = list(lines())
    path.write_bytes(b"\n".join(given))
    kills = ("mapper", "reducer")
    result = run_everywhere(job, path, tmp_path / "x", cluster.address, kills=kills, max_bad=50, split_size=5000)
    bad, results = expected(given)
    assert dict(result) == results
    told = list(result.bad)
    first = [one for one in told if one["path"] is not None]
    assert sorted((one["offset"], one["kind"], content_of(one)) for one in first) == bad
    groups = [(one["key"], one["step"], one["kind"], one["task"].partition(" ")[0]) for one in told if one not in first]
    assert groups == [("7", 1, "LookupError in reducer", "reduce"), ("5", 2, "ZeroDivisionError in mapper", "map")]
    assert next(one["message"] for one in told if one["key"] == "7").endswith("please: <object object at 0x...>")
    assert result.status.bad == Counter(one["kind"] for one in told)
    assert result.counters["documents"] == len(given) - len(bad)


def endless(number):
    return endless(number + 1) if number else 0


def test_a_full_stack_leaves_the_same_bytes_everywhere(tmp_path):
    """How often a line was repeated until then depends on what has called the function, and is not told."""
    path = tmp_path / "in.txt"
    path.write_text("0\n1\n2\n")
    told = set()
    for runner in ("inline", "local"):
        result = mapreduce.run(
            Job(lambda line: [(endless(int(line)), 1)]), path, tmp_path / runner, runner=runner, max_bad=2
        )
        assert [one["kind"] for one in result.bad] == ["RecursionError in mapper"] * 2
        assert "[Previous line repeated ... more times]" in next(iter(result.bad))["traceback"]
        told.add(b"".join(file.read_bytes() for file in sorted((tmp_path / runner / "_bad").glob("part-*"))))
    assert len(told) == 1


def mapreduce_command(folder, *arguments):
    return command(*arguments, cwd=folder, timeout=100, check=False)


ADDING = """
from mapreduce import Job, Sum

def mapper(line):
    yield "sum", int(line)

job = Job(mapper, reducer=Sum())
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "adding.py").write_text(ADDING)
    (tmp_path / "in.txt").write_text("1\n2\nthree\n4\nfünf\n")
    return tmp_path


def test_the_command_line_tells_what_was_put_aside(folder):
    """The summary counts bad records by kind and names the folder; too many show the last traceback, and exit 1."""
    done = mapreduce_command(folder, "run", "adding.py", "in.txt", "-o", "out", "--max-bad", "2")
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "part-00000").read_text() == "sum\t7\n"
    assert "  2 bad records put aside: 2 ValueError in mapper, in out/_bad\n" in done.stderr
    told = [json.loads(line) for line in (folder / "out" / "_bad" / "part-00000.jsonl").read_text().splitlines()]
    assert [one["content"] for one in told] == ["three", "fünf"]
    shown = mapreduce_command(folder, "cat", "out/_bad/")
    assert shown.stdout == (folder / "out" / "_bad" / "part-00000.jsonl").read_text()
    assert mapreduce_command(folder, "cat", "out/_bad", "-n", "1").stdout.count("\n") == 1
    failed = mapreduce_command(folder, "run", "adding.py", "in.txt", "-o", "none", "--max-bad", "20%")
    assert failed.returncode == 1
    assert "int(line)" in failed.stderr
    assert "\n2 bad records: --max-bad allows 20% of 5\n" in failed.stderr
    assert failed.stderr.count("ValueError: ") == 1
    assert not (folder / "none").exists()
    wrong = mapreduce_command(folder, "run", "adding.py", "in.txt", "-o", "none", "--max-bad", "few")
    assert wrong.returncode == 2
    assert "--max-bad is 'few'" in wrong.stderr


def test_a_job_on_a_cluster_fails_by_the_sum_of_its_tasks(folder, cluster):
    """Tasks that are within the bound each are too much together; nothing stays in the output folder."""
    options = {"runner": "cluster", "coordinator": cluster.address, "split_size": 8, "max_bad": 1}
    with pytest.raises(JobFailed) as caught:
        mapreduce.run(str(folder / "adding.py"), folder / "in.txt", folder / "out", **options)
    failure = caught.value.failure
    assert "2 bad records: --max-bad allows 1" in failure.notes
    assert "int(line)" in failure.traceback
    assert any("2 ValueError in mapper, as in" in note for note in failure.notes)
    with pytest.raises(JobFailed, match="allows 1"):
        mapreduce.run(str(folder / "adding.py"), folder / "in.txt", folder / "here", max_bad=1, split_size=8)
    assert not Path(folder / "here").exists()
