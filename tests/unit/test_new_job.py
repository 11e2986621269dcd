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
    with pytest.raises(UsageError, match=r"no name (for|of) a module|would hide another one"):
        write_new_job(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_of_a_name_says_what_is_wrong_with_it(tmp_path):
    """A word of Python's own and a digit in front are told apart from letters that names do not have."""
    for name, message in (
        ("class", "'class' is a word of Python's own, and no name for a module: choose another, such as my_class"),
        ("2fast", "'2fast' begins with a digit, which no name of a module does: write job_2fast, say"),
        ("2-fast", "'2-fast' is no name for a module: use letters, digits and _, such as my_job"),
    ):
        with pytest.raises(UsageError) as refused:
            write_new_job(tmp_path, name)
        assert str(refused.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("j" * 201, "is too long for the name of a file: use at most 200 letters of a to z"),
        ("ж" * 101, "is too long"),
        ("__init__", "Python keeps for itself"),
        ("__main__", "Python keeps for itself"),
        ("conftest", "pytest takes conftest.py for its own"),
        ("test_a", "pytest takes test_a.py for its own"),
        ("a_test", "pytest takes a_test.py for its own"),
        ("\uff4aob", "Python reads '\uff4aob' as 'job', and would not find the module: write job"),
    ],
)
def test_a_name_that_others_take_for_something_else_is_refused(name, message, tmp_path):
    """What the file system, Python or pytest would not take for a job's module is refused with the reason."""
    with pytest.raises(UsageError, match=message):
        write_new_job(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_can_be_used(tmp_path):
    """Both files, and what Python and pytest compile of them, have room for a name of the most letters."""
    module, test = write_new_job(tmp_path, "j" * 200)
    assert module.exists()
    assert test.with_name(f"{test.stem}.cpython-311-pytest-999.999.999.pyc.99999999").touch() is None


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
