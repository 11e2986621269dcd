"""A new job is written whole, next to nothing that it could hide or replace."""

import pytest

from mapreduce.errors import OutputError, UsageError
from mapreduce.new_job import write_new_job
from mapreduce.targets import demo_names


def test_a_name_may_have_its_ending(tmp_path):
    """NAME.py is as good as NAME, and the test imports the module by its name."""
    module, test = write_new_job(tmp_path, "my_job.py")
    assert (module.name, test.name) == ("my_job.py", "test_my_job.py")
    assert "from my_job import job\n" in test.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "my-job", "1st", "class", "a.b", "../up", "json", "polars", "mapreduce"])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    """What is no identifier, or would hide an installed module, is refused, and nothing is written."""
    with pytest.raises(UsageError, match=r"no name for a module|would hide another one"):
        write_new_job(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["my_job.py", "test_my_job.py"])
def test_a_file_that_is_there_stays(taken, tmp_path):
    """Neither of both files is written where one is there already."""
    (tmp_path / taken).write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=f"there is .*{taken} already"):
        write_new_job(tmp_path, "my_job")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path):
    """The error names the file and the system's reason."""
    with pytest.raises(OutputError, match=r"cannot write .*my_job\.py: No such file or directory"):
        write_new_job(tmp_path / "gone", "my_job")


def test_an_unknown_demo_is_answered_with_their_names(tmp_path):
    """The error lists the demos that there are."""
    with pytest.raises(UsageError, match="choose one of batch_inference, "):
        write_new_job(tmp_path, "my_job", "wordcount")


@pytest.mark.parametrize("demo", demo_names())
def test_every_demo_can_be_copied(demo, tmp_path):
    """The copy is the demo, with its imports made absolute."""
    module, test = write_new_job(tmp_path, f"my_{demo}", demo)
    assert "\nfrom ." not in module.read_text(encoding="utf-8")
    assert f"from my_{demo} import " in test.read_text(encoding="utf-8")
