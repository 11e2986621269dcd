"""Other ways to run the same sample, as `mapreduce check` tries them."""

from __future__ import annotations

import pytest
from checked import baseline_of, bench_of, write_job, write_lines

from mapreduce import Collect, Count, First, Job, Sample, Sum
from mapreduce.check.report import Level
from mapreduce.check.variants import check_variants


def variants(folder, job, known=(), **options):
    """The findings of all variants of a job over some lines, by kind, without what has passed."""
    inputs = options.pop("inputs", None) or write_lines(folder)
    with bench_of(folder, job, inputs, **options) as bench:
        findings = check_variants(baseline_of(bench), known)
    return {finding.kind: finding for finding in findings if finding.level is not Level.PASSED}


def words(line):
    for word in line.split():
        yield word, len(line)


class Numbered:
    """Numbers the lines of its split."""

    def __init__(self):
        self.number = 0

    def __call__(self, line):
        self.number += 1
        yield line, self.number


class Longest:
    """Gives the longest line of its split, at the end."""

    def __init__(self):
        self.longest = ""

    def __call__(self, line):
        self.longest = max(self.longest, line)

    def finish(self):
        yield "longest", self.longest


def listed(key, values):
    yield key, list(values)


def test_a_mapper_that_depends_on_the_borders_of_splits_is_found(tmp_path):
    """A mapper class that numbers lines gives others where the input is cut elsewhere; the examples say which."""
    found = variants(tmp_path, Job(Numbered, reducer=listed))
    borders = found.pop("split-borders")
    assert borders.level is Level.PROBLEM
    assert "the mapper Numbered" in borders.title
    assert "where it was cut elsewhere" in borders.details[0]
    assert any("def __call__(self, line):" in line for line in borders.code)
    assert set(found) <= {"input-order"}


def test_a_mapper_class_that_sums_up_its_split_is_right(tmp_path):
    """What is given at the end of a split and put together by the reducer does not depend on cuts."""
    assert variants(tmp_path, Job(Longest, reducer=lambda key, values: [(key, max(values))])) == {}


def test_the_order_of_the_input_may_matter(tmp_path):
    """Lists of values, and the first of them, depend on it: a note, with an example."""
    found = variants(tmp_path, Job(words, reducer=First()))
    assert list(found) == ["input-order"]
    assert found["input-order"].level is Level.NOTE
    assert "in another order" in found["input-order"].details[0]


@pytest.mark.parametrize("reducer", [Count(), Sum(), {"n": Count(), "all": Sum()}, Collect()], ids=repr)
def test_aggregators_pass(tmp_path, reducer):
    """Folded in a few parts or in many: the same."""
    assert set(variants(tmp_path, Job(words, reducer=reducer))) <= {"input-order"}


def test_samples_and_random_numbers_may_depend_on_cuts(tmp_path):
    """They are drawn task by task, by design: that is told, and not taken for a mistake."""
    found = variants(tmp_path, Job(words, reducer=Sample(3)))
    assert {kind: one.level for kind, one in found.items()} == {"random": Level.NOTE}
    source = """
        def mapper(line, *, ctx):
            if ctx.random.random() < 0.5:
                yield line, 1
    """
    (tmp_path / "drawn").mkdir()
    found = variants(tmp_path / "drawn", write_job(tmp_path, source))
    assert list(found) == ["random"]


def test_sums_of_floats_are_told_once(tmp_path):
    """That their last bits depend on cuts is one note, however many trials show it."""
    found = variants(tmp_path, Job(lambda line: [(line[:2], 1 / len(line))], reducer=Sum()))
    assert set(found) <= {"float"}
    assert all(one.level is Level.NOTE for one in found.values())


def test_a_combiner_of_frames_is_tried_with_the_whole_job(tmp_path):
    """It cannot be called key by key: without it, and with it over more parts, results must be the same."""
    source = """
        import polars as pl
        from mapreduce import Job
        def mapper(frame):
            return frame.select(key=pl.col("value").str.slice(0, 2), value=pl.col("value").str.len_chars())
        def mean(frame):
            return frame.group_by("key").agg(pl.col("value").mean())
        def total(frame):
            return frame.group_by("key").agg(pl.col("value").sum())
        job = Job(mapper, combiner=mean, reducer=mean, frames=True)
        right = Job(mapper, combiner=total, reducer=total, frames=True)
    """
    path = write_job(tmp_path, source)
    inputs = write_lines(tmp_path, [f"{'ab'[number % 2]} {'x' * number}" for number in range(100)])
    found = variants(tmp_path, path, inputs=inputs)
    assert found["combiner"].level is Level.PROBLEM
    assert "the combiner mean" in found["combiner"].title
    (tmp_path / "right").mkdir()
    assert variants(tmp_path / "right", f"{path}:right", inputs=inputs) == {}


def test_a_reducer_over_whole_frames_depends_on_the_number_of_reducers(tmp_path):
    """A rank among all rows of a frame is another one where fewer keys are in it: a warning that names the reducer."""
    source = """
        import polars as pl
        from mapreduce import Job
        def mapper(frame):
            return frame.select(key=pl.col("value"), value=pl.col("key"))
        def ranked(frame):
            return frame.with_columns(value=pl.int_range(pl.len()))
        job = Job(mapper, reducer=ranked, frames=True)
    """
    found = variants(tmp_path, write_job(tmp_path, source))
    assert found["reducers"].level is Level.WARNING
    assert "the reducer ranked" in found["reducers"].title


def test_a_combiner_that_fails_for_what_it_gave_is_found(tmp_path):
    """The message of what failed is in the finding."""
    source = """
        def mapper(line):
            yield line[:2], [1]
        def combiner(key, lists):
            yield key, sum(len(one) for one in lists)
        def reducer(key, numbers):
            yield key, sum(one if isinstance(one, int) else len(one) for one in numbers)
    """
    found = variants(tmp_path, write_job(tmp_path, source))
    small = found["small-buffers"]
    assert small.level is Level.PROBLEM
    assert any("TypeError: object of type 'int' has no len()" in line for line in small.details)


def test_named_outputs_are_held_against_each_other(tmp_path):
    """What a function writes to another output counts as well."""
    source = """
        from mapreduce import Job
        class Numbering:
            def __init__(self, *, ctx):
                self.ctx, self.number = ctx, 0
            def __call__(self, line):
                self.number += 1
                self.ctx.outputs["numbers"].write(line, self.number)
                yield line, 1
        job = Job(Numbering, outputs={"numbers": "tsv"})
    """
    found = variants(tmp_path, write_job(tmp_path, source))
    assert found["split-borders"].details[0].startswith("output numbers, ")


def test_later_steps_are_tried_too(tmp_path):
    """A combiner of the second step that is none is found."""
    source = """
        from mapreduce import Count, Job, Step
        def words(line):
            for word in line.split():
                yield word, 1
        def turned(word, n):
            yield len(word), n
        def mean(key, values):
            held = list(values)
            yield key, sum(held) / len(held)
        job = Job(steps=[Step(words, reducer=Count()), Step(turned, combiner=mean, reducer=mean)])
    """
    found = variants(tmp_path, write_job(tmp_path, source))
    assert found["combiner"].level is Level.PROBLEM


def test_unsteady_results_are_not_tried_further(tmp_path):
    """Where no two runs agree, other trials would say nothing: they are left out, and that is told."""
    found = variants(tmp_path, Job(Numbered, reducer=listed), known={"state"})
    assert list(found) == ["variants"]


def test_files_that_cannot_be_cut_have_no_borders(tmp_path):
    """A mapper that numbers the records of a file is right where each file is read by one task."""
    source = """
        from mapreduce import Csv, Job
        class Numbered:
            def __init__(self):
                self.number = 0
            def __call__(self, row):
                self.number += 1
                yield row[0], self.number
        job = Job(Numbered, input=Csv(header=False))
    """
    (tmp_path / "one.csv").write_text("".join(f"{n},x\n" for n in range(100)))
    found = variants(tmp_path, write_job(tmp_path, source), inputs=str(tmp_path / "one.csv"))
    assert found == {}
