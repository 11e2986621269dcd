"""Output folders in a store: what is reserved or refused, what a job that fails leaves, and the probe."""

import pytest
from store_outputs import OLD, PARTS, committed, deliver_parts, prepared, tree

from mapreduce.dataflow.inputs.probe import check_probe, make_probe
from mapreduce.dataflow.manifest.folder import prepare_output, remove_attempts
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.errors import OutputError
from mapreduce.plan import TaskOptions


def test_reserving(place, tmp_path):
    """A folder that holds anything is refused with what to do; a job's output may be replaced, other things may not."""
    committed(place, tmp_path, outputs=(("errors", "tsv"),))
    with pytest.raises(OutputError, match=r"holds another job's output: .*--overwrite"):
        prepare_output(place, "j2", False)
    prepare_output(place, "j2", True, ["errors"])
    prepare_output(place, "j2", True, ["errors"])
    remove_attempts(place, "j2")
    assert "_SUCCESS" in tree(place)
    store = store_of(place)
    store.write(f"{place}-notes/x.txt", b"mine")
    for overwrite, text in ((False, "is not empty .it holds x.txt"), (True, "holds x.txt, which no job wrote")):
        with pytest.raises(OutputError, match=text):
            prepare_output(f"{place}-notes", "j2", overwrite)
    store.write(f"{place}/mine/x.txt", b"mine")
    with pytest.raises(OutputError, match=r"where the job's output 'mine' goes, holds x.txt, which no job wrote"):
        prepare_output(place, "j2", True, ["mine"])
    prepare_output(f"{place}-2", "j2", False)
    store.write(f"{place}-2/part-00000-j2-0.tsv", b"half")
    with pytest.raises(OutputError, match=r"is that of the job j2, which is running or has died.*remove what is in"):
        prepare_output(f"{place}-2", "j3", False)
    prepare_output(f"{place}-2", "j3", True)
    store.write(f"{place}-file", b"")
    with pytest.raises(OutputError, match="is an object: name another folder"):
        prepare_output(f"{place}-file", "j2", False)


@pytest.mark.parametrize("parts", [[], PARTS])
def test_a_job_that_fails_before_its_commit(place, tmp_path, parts):
    """One that was to replace an output leaves it as it was, with its named outputs, also those that it has too."""
    committed(place, tmp_path, "j0", OLD[:1], outputs=(("errors", "tsv"),))
    before = tree(place)
    options = TaskOptions(job="j1", output=place, durable=False, overwrite=True, outputs=(("errors", "tsv"),))
    prepare_output(place, "j1", True, ["errors"])
    deliver_parts(options, tmp_path, parts)
    remove_attempts(place, "j1")
    assert tree(place) == before


def test_cleaning_up_twice_or_late(place, tmp_path):
    """Cleaning up may be done again, also when the next job has the folder: nothing of that goes."""
    prepared(place, tmp_path, "j1")
    remove_attempts(place, "j1")
    assert tree(place) == {}
    committed(place, tmp_path, "j2")
    before = tree(place)
    remove_attempts(place, "j1")
    remove_attempts(place, "j2")
    assert tree(place) == before


def test_a_probe(place):
    """A worker that finds the token may write there; one that does not, says so; what lies in memory is refused."""
    prepare_output(place, "j1", False)
    probe = make_probe([], place, "j1")
    if place.startswith("memory"):
        with pytest.raises(OutputError, match="lies in the memory of the process"):
            check_probe(probe)
        return
    check_probe(probe)
    assert sorted(tree(place)) == ["_tmp-j1/_probe", "_tmp-j1/_reserved"]
    store_of(place).write(probe.token_path, b"another")
    with pytest.raises(OutputError, match="is not seen here: the same endpoint"):
        check_probe(probe)
