"""Outputs in a folder: made as attempts and the commit make them, also on a disk that fails, and looked at."""

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.manifest import folder as manifest
from mapreduce.dataflow.manifest.folder import Disk, Granted, commit_job, prepare_output
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


FACTS = {"job": "j1", "finished_ms": 5}


def options_of(folder, job="j1", **more):
    return TaskOptions(job=job, output=str(folder), **more)


def write_part(path, records, output_format):
    writer = PartWriter(path, output_format)
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    return writer.close()


def write_parts(options, parts, number=1, named=None):
    """Write a part for each list of records; those of the named outputs (by name) are `named`, or two to each part."""
    granted = []
    folder = manifest.temporary_folder(options.output, options.job)
    for index, records in enumerate(parts):
        attempt = AttemptId(TaskId(options.job, 0, TaskKind.REDUCE, index), number)
        outputs = {
            name: write_part(
                folder / attempt_output_name(attempt, name),
                named[name][index] if named else [(f"{name} {index}", options.job)] * 2,
                output_format,
            )
            for name, output_format in options.outputs
        }
        info = write_part(folder / attempt_output_name(attempt), records, options.output_format)
        granted.append(Granted(attempt, info, outputs))
    return granted


PARTS = [[("a", 1), ("b", 2)], [], [("c", 3)]]
RECORDS = [record for part in PARTS for record in part]


def prepare(options):
    prepare_output(options.output, options.job, options.overwrite, [name for name, _ in options.outputs])


def committed(folder, job="j1", parts=PARTS, named=None, **more):
    options = options_of(folder, job, **more)
    prepare(options)
    return commit_job(folder, options, write_parts(options, parts, named=named), {"job": job})


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Dies(BaseException):
    """The process dies here."""


class FragileDisk(Disk):
    """Dies right after the n-th change, which is right before the next; looks after each that a reader can see."""

    def __init__(self, left, look=None):
        self.left = left
        self.look = look

    def _step(self, change, *arguments, seen=True):
        change(*arguments)
        self.left -= 1
        if self.look and seen:
            self.look()
        if self.left == 0:
            raise Dies

    def rename(self, source, target):
        self._step(super().rename, source, target)

    def sync_folder(self, folder):
        self._step(super().sync_folder, folder, seen=False)

    def write(self, path, data):
        self._step(super().write, path, data, seen=False)

    def sync_file(self, path):
        self._step(super().sync_file, path, seen=False)

    def make_folder(self, path):
        self._step(super().make_folder, path, seen=False)

    def remove(self, path):
        self._step(super().remove, path)

    def remove_folder(self, path):
        self._step(super().remove_folder, path)

    def remove_tree(self, path):
        self._step(super().remove_tree, path)


NAMED = (("errors", "jsonl"), ("rare", "tsv"))


def dies(out, options, granted, disk):
    try:
        commit_job(out, options, granted, FACTS, disk)
    except Dies:
        return True
    return False
