"""`mapreduce cat` and `mapreduce.read`: what jobs of every runner have written, read back by a user."""

import json

from cluster import mapreduce

import mapreduce as engine


def test_cat_prints_what_a_job_wrote(tmp_path):
    """All of it, or the first records; of a compressed format the lines; of a named output by its folder."""
    (tmp_path / "text.txt").write_text("to be or not to be\n", encoding="utf-8")
    printed = mapreduce("run", "@word_count", "text.txt", cwd=tmp_path).stdout
    for output_format in ("tsv", "tsv.gz", "parquet"):
        mapreduce("run", "@word_count", "text.txt", "-o", output_format, "--output-format", output_format, cwd=tmp_path)
        assert mapreduce("cat", output_format, cwd=tmp_path).stdout == printed == "be\t2\nnot\t1\nor\t1\nto\t2\n"
    assert mapreduce("cat", "-n", "2", "parquet", cwd=tmp_path).stdout == "be\t2\nnot\t1\n"
    mapreduce("run", "@word_count", "text.txt", "-o", "json", "--output-format", "jsonl.zst", cwd=tmp_path)
    lines = mapreduce("cat", "json", cwd=tmp_path).stdout.splitlines()
    assert len(lines) == 4
    assert all(map(json.loads, lines))
    assert dict(engine.read(tmp_path / "json")) == {"be": 2, "not": 1, "or": 1, "to": 2}


def test_a_job_over_a_former_output_is_told_its_format(tmp_path):
    """Of Parquet the command says which option reads it; JSON lines are read as lines, with a warning."""
    (tmp_path / "text.txt").write_text("to be or not to be\n", encoding="utf-8")
    for output_format in ("parquet", "jsonl"):
        mapreduce("run", "@word_count", "text.txt", "-o", output_format, "--output-format", output_format, cwd=tmp_path)
    refused = mapreduce("run", "@word_count", "parquet", cwd=tmp_path, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("is the output of a job in parquet, and not text: say --input-format parquet\n")
    assert "warning: " in mapreduce("run", "@word_count", "jsonl", cwd=tmp_path).stderr
    done = mapreduce("run", "@word_count", "jsonl", "--input-format", "text", cwd=tmp_path)
    assert "warning: " not in done.stderr


def test_cat_says_what_is_wrong(tmp_path):
    """No output, and a part that was changed, are errors that name the place; nothing of the part is printed."""
    nothing = mapreduce("cat", "gone", cwd=tmp_path, check=False)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr == f"the output folder {tmp_path / 'gone'} does not exist\n"
    (tmp_path / "text.txt").write_text("to be or not to be\n", encoding="utf-8")
    mapreduce("run", "@word_count", "text.txt", "-o", "out", cwd=tmp_path)
    (tmp_path / "out" / "part-00000").write_text("be\t3\nnot\t1\nor\t1\nto\t2\n", encoding="utf-8")
    changed = mapreduce("cat", "out", cwd=tmp_path, check=False)
    assert (changed.returncode, changed.stdout) == (2, "")
    assert "part-00000 is not what the job wrote" in changed.stderr
    for place, message in (
        ("out/_bad", f"the output {tmp_path / 'out'} has no bad records: none was put aside\n"),
        ("gone/_bad", f"the output folder {tmp_path / 'gone'} does not exist\n"),
        (".", f"{tmp_path} holds no finished output of a job (there is no _SUCCESS in it)\n"),
    ):
        refused = mapreduce("cat", place, cwd=tmp_path, check=False)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", message)
