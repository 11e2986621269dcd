"""The inputs of a job as it is planned: found where the arguments say, in the formats that are meant, and cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mapreduce.dataflow.inputs import find as dataflow_inputs
from mapreduce.dataflow.inputs.find import InputFile, InputFiles, InputSplits, KeptParts
from mapreduce.dataflow.inputs.split_file import encode_splits
from mapreduce.errors import OutputError, UsageError
from mapreduce.format_text import format_used, formats_meant
from mapreduce.formats import Records
from mapreduce.input_arguments import arguments_of
from mapreduce.job import Job, parse_size
from mapreduce.joins import BROADCAST_BYTES
from mapreduce.plan import EVERY_PART
from mapreduce.quick_dataclass import dataclass
from mapreduce.read_as_text import has_no_format, note_on
from mapreduce.request import KeptInput, Request, ResultFolders
from mapreduce.urls import is_url, whole_place


@dataclass(frozen=True, slots=True)
class CutInputs:
    """The inputs of a job, found and cut."""

    given: list[InputFiles]
    cut: InputSplits
    split_size: int | None
    reads: tuple[str, ...]  # the ids of the jobs whose kept results are read
    formats: tuple[str, ...]  # as in TaskOptions
    read_as_text: tuple[str, ...] = ()  # what is to be told of former outputs whose format nobody has said

    @property
    def reads_at(self) -> tuple[int, ...]:
        """For each kept result the number of the first map task that reads it, as in a JobSpec."""
        starts = [sum(self.cut.maps[:number]) for number, one in enumerate(self.given) if one.kept is not None]
        if self.cut.broadcast is not None and self.given[-1].kept is not None:
            starts[-1] = EVERY_PART
        return tuple(starts)

    @property
    def files(self) -> list[InputFile]:
        """The files of all inputs."""
        return [file for one in self.given for file in one.files]

    @property
    def size(self) -> int:
        """Bytes of all inputs, as they lie on disk."""
        return sum(one.size for one in self.given)

    def encoded(self) -> bytes:
        """All splits; that of a broadcast input after those of the map tasks, whose indexes are their numbers."""
        extra = () if self.cut.broadcast is None else (self.cut.broadcast,)
        return encode_splits(self.cut.splits + extra)

    def notes(self, slots: int | None) -> tuple[str, ...]:
        """What to tell the user of them."""
        formats = [one.format for one in self.given]
        idle = () if slots is None else dataflow_inputs.notes(self.cut.splits, slots, self.split_size, formats)
        if self.files or self.reads:
            return self.read_as_text + idle
        return (*idle, "nothing was read: there is no file in the input (names that begin with . or _ are passed by)")


def cut_inputs(job: Job, request: Request) -> CutInputs:
    """Find the files of each input of the job, and cut them into splits."""
    given: list[InputFiles] = []
    reads: list[str] = []
    notes: list[str] = []
    plans = job.resolved[0].inputs
    formats = formats_meant(job.name, plans, request.input_format, request.columns)
    for number, (plan_of, source) in enumerate(zip(plans, arguments_of(job, request.inputs), strict=True)):
        used = format_used(formats, plan_of, number)
        if formats[number] and not isinstance(source, tuple):
            name = f" {plan_of.name}" if plan_of.name else ""
            raise UsageError(f"the input{name} is a former result, which has its own format: say none, and no columns")
        if isinstance(source, KeptInput):
            kept = KeptParts(len(reads), source.parts, source.size)
            given.append(InputFiles((), used, kept=kept))
            reads.append(source.job)
            continue
        typed = isinstance(source, ResultFolders)
        input_format = Records() if typed else used
        files = dataflow_inputs.find_inputs(source.paths if isinstance(source, ResultFolders) else source, input_format)
        if not request.keep:
            _refuse_own_output(files, request.output)
        if not request.input_format and not typed and has_no_format(job, number):
            notes.append(note_on(files, plan_of.name))
        given.append(InputFiles(tuple(files), input_format, typed))
    split_size = job.split_size if request.split_size is None else parse_size(request.split_size)
    most = BROADCAST_BYTES if job.resolved[0].broadcasts else None
    cut = dataflow_inputs.plan_inputs(given, split_size, request.encoding or job.encoding, broadcast=most)
    said = tuple(formats) if any(formats) else ()
    return CutInputs(given, cut, split_size, tuple(reads), said, tuple(filter(None, notes)))


def _refuse_own_output(files: Sequence[InputFile], output: str) -> None:
    """Refuse inputs inside the output folder: the results of a former run would be read, and counted, as input."""
    folder = whole_place(output)
    real = folder if is_url(folder) else str(Path(folder).resolve())
    inside = (f"{folder}/", f"{real}/")
    for file in files:
        if file.path.startswith(inside):
            raise OutputError(
                f"the input {file.path} lies in the output folder {folder}: name an output folder outside of the inputs"
            )
