"""Outputs in a store: made as attempts and the commit make them, and looked at as a reader does."""

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.manifest.attempts import deliver
from mapreduce.dataflow.manifest.folder import Granted, commit_job, prepare_output, read_output
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions

FACTS = {"job": "j1"}
PARTS = [[("a", 1), ("b", 2)], [], [("c", 3)]]
RECORDS = [record for part in PARTS for record in part]
NAMED = (("errors", "jsonl"), ("rare", "tsv"))
NEW = {"": RECORDS} | {name: [(f"{name} {i}", "j1") for i in range(3) for _ in range(2)] for name, _ in NAMED}
OLD = [[("old", 1)], [("older", 2)], [("x", 1)], [("z", 1)]]


def write_part(path, records, output_format):
    writer = PartWriter(path, output_format)
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    return writer.close()


def deliver_parts(options, scratch, parts=PARTS, number=1, named=None):
    """Upload a part for each list of records, as attempts do; two records of each named output unless given."""
    granted = []
    for index, records in enumerate(parts):
        attempt = AttemptId(TaskId(options.job, 0, TaskKind.REDUCE, index), number)
        outputs = {
            name: write_part(
                scratch / attempt_output_name(attempt, name),
                named[name][index] if named else [(f"{name} {index}", options.job)] * 2,
                output_format,
            )
            for name, output_format in options.outputs
        }
        info = write_part(scratch / attempt_output_name(attempt), records, options.output_format)
        deliver(options, scratch, attempt, info, outputs)
        granted.append(Granted(attempt, info, outputs))
    return granted


def prepared(folder, scratch, job="j1", **more):
    """Reserve the folder for a job whose attempts have uploaded their parts; one of them was doubled."""
    options = TaskOptions(job=job, output=folder, durable=False, **more)
    prepare_output(folder, job, options.overwrite, [name for name, _ in options.outputs])
    deliver_parts(options, scratch, [[("double", 9)]], number=7)
    return options, deliver_parts(options, scratch)


def committed(folder, scratch, job="j1", parts=PARTS, named=None, **more):
    options = TaskOptions(job=job, output=folder, durable=False, **more)
    prepare_output(folder, job, options.overwrite, [name for name, _ in options.outputs])
    return commit_job(folder, options, deliver_parts(options, scratch, parts, named=named), {"job": job})


def tree(folder):
    """All objects below a folder: their contents by their names."""
    store = store_of(folder)
    return {url[len(folder) + 1 :]: store.read_small(url) for url, _ in store.below(folder)}


def marks(folder):
    """All objects below a folder by their names: sizes and versions (of S3: digests), from a list and no reads."""
    return {url[len(folder) + 1 :]: facts for url, facts in store_of(folder).below(folder)}


def seen(folder):
    """What a reader who follows the manifests sees of all outputs by their names, "" being the job's own."""
    names = [name[: -len("_SUCCESS")].rstrip("/") for name in tree(folder) if name.endswith("_SUCCESS")]
    return {name: list(read_output(f"{folder}/{name}".rstrip("/"))) for name in names}
