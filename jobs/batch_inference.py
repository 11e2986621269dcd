"""Files -> what kinds of files they are, as a neural network judges them, with how sure it is.

The model is Magika's (Fratantonio et al., "Magika: AI-powered content-type detection", 2024), whose package brings its
weights, 3 MB for onnxruntime. It looks at the first and the last 1024 bytes of a file and knows some 200 kinds. A task
process loads it once, and it judges the files of a split in batches.
"""

import functools
import heapq
import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mapreduce import Context, Files, Job, JobDefinitionError

if TYPE_CHECKING:
    from magika import Magika, MagikaResult

BATCH = 32  # files that the model is given at once: beyond that nothing is gained, and the contents take memory
EXAMPLES = 3  # paths that are shown of each kind, the least sure ones first
SCALE = 10_000  # of confidences: whole numbers add up to the same in any order, and a score's last bits are noise
RULE = SCALE + 1  # in place of a confidence where a rule decided: after all that the model decided

Judged = tuple[int, int, str]  # confidence, bytes, path

if importlib.util.find_spec("magika") is None:
    raise JobDefinitionError("batch_inference needs Magika, which is missing: pip install 'mapreduce-engine[demos]'")


@functools.cache
def model() -> "Magika":
    """Load the model: once in a task process, which keeps it for its next tasks.

    It runs on one thread: a worker has a task for each processor, and with more threads a score depends on how many
    there are. Magika has no option for that, so its session is made here.
    """
    import onnxruntime  # noqa: PLC0415 - takes a third of a second, and tasks alone need it
    from magika import Magika  # noqa: PLC0415 - as above

    class OneThread(Magika):
        threads = 0

        def _init_onnx_session(self) -> Any:
            onnxruntime.disable_telemetry_events()
            options = onnxruntime.SessionOptions()
            self.threads = options.intra_op_num_threads = options.inter_op_num_threads = 1
            return onnxruntime.InferenceSession(self._model_path, options, providers=["CPUExecutionProvider"])

    loaded = OneThread()
    if loaded.threads != 1:
        raise RuntimeError(f"{loaded} makes its session in a way that this job does not know: pip install 'magika<2'")
    return loaded


def judge(paths: list[str], contents: list[bytes], *, ctx: Context) -> Iterator[tuple[str, Judged]]:
    """Yield (kind, (confidence, bytes, path)) for each file of a batch."""
    loads = model.cache_info().misses
    results = model().identify_paths(paths)
    ctx.counters["models loaded"] += model.cache_info().misses - loads
    for path, content, result in zip(paths, contents, results, strict=True):
        kind, confidence, remark = verdict(result)
        yield kind, (confidence, len(content), path + remark)


def verdict(result: "MagikaResult") -> tuple[str, int, str]:
    """Give a file's kind, how sure the model is of it (in SCALE, or RULE), and a remark for the report.

    All files where the model is not sure enough are one kind, and so are those that it cannot read, by the reason. That
    a file is empty, or too short to tell more than whether it is text, is a rule's decision.
    """
    if not result.ok:
        return f"(not judged: {result.status})", RULE, ""
    found = result.prediction
    confidence = round(found.score * SCALE)
    if found.overwrite_reason == "low_confidence":
        return "(unsure)", confidence, f" ({found.dl.label}?)"
    return str(found.output.label), RULE if found.dl.label == "undefined" else confidence, ""


def report(kind: str, files: Iterable[Judged]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sum up a kind: files and bytes, mean and lowest confidence of the model (None without it), the least sure files.

    Keeps a few files, however many there are; of equally sure ones the first by their paths.
    """
    number = size = judged = total = 0
    shown: list[tuple[int, str]] = []
    for confidence, length, path in files:
        number += 1
        size += length
        if confidence != RULE:
            judged += 1
            total += confidence
        shown = heapq.nsmallest(EXAMPLES, [*shown, (confidence, path)])
    yield (
        kind,
        {
            "files": number,
            "bytes": size,
            "mean": round(total / judged / SCALE, 4) if judged else None,
            "lowest": shown[0][0] / SCALE if judged else None,
            "examples": [path for _, path in shown],
        },
    )


job = Job(judge, input=Files(), batch_size=BATCH, reducer=report)
