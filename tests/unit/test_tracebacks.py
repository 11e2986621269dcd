"""Tracebacks show the user's frames with their source lines, and fold the engine's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import mapreduce
from mapreduce.aggregators import Sum
from mapreduce.config import FAILURE_TEXT_CHARS
from mapreduce.errors import JobDefinitionError, MapReduceError
from mapreduce.project import is_engine_file
from mapreduce.signatures import read_call
from mapreduce.targets import load_job
from mapreduce.tracebacks import user_traceback


def caught(function: Callable[[], Any]) -> Exception:
    """Give what `function` raises."""
    with pytest.raises(Exception) as info:  # noqa: PT011 - whatever it is
        function()
    return info.value


def test_frames_of_the_engine_are_folded() -> None:
    """The user's lines stay, with their source; between and after them one line stands for the engine's."""

    def user() -> None:
        Sum().add(1, "text")  # type: ignore[arg-type]

    text = user_traceback(caught(user))
    assert 'Sum().add(1, "text")' in text
    assert "... 2 frames of the engine" in text
    assert "aggregators.py" not in text
    assert "needs numbers" in text


def test_the_way_to_an_import_is_folded(tmp_path, monkeypatch) -> None:
    """A module that fails to import shows the user's lines alone, not those of importlib."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lame.py").write_text("import nosuch_module\n")
    error = caught(lambda: load_job("lame.py"))
    assert isinstance(error, JobDefinitionError)
    assert "import nosuch_module" in str(error)
    assert "importlib" not in str(error)


def test_causes_are_kept() -> None:
    """`raise ... from` and exceptions during handling appear in order, each folded."""

    def user() -> None:
        try:
            Sum().create("x")  # type: ignore[arg-type]
        except MapReduceError as error:
            raise KeyError("outer") from error

    text = user_traceback(caught(user))
    assert text.index("needs numbers") < text.index("direct cause") < text.index("KeyError: 'outer'")
    assert "... 2 frames of the engine" in text


def test_what_is_not_shown_does_not_count() -> None:
    """An error of the engine raised `from None` is its message alone, whatever library's frames it leaves out."""

    def refuse() -> None:
        try:
            json.loads("{")
        except ValueError:
            raise MapReduceError("no JSON") from None

    error = caught(refuse)
    error.__traceback__ = None  # the engine's own frames, were they in its package
    assert user_traceback(error) == ""


def test_groups_of_exceptions_are_folded_as_well() -> None:
    """Each member of an ExceptionGroup keeps its user's lines."""

    def user() -> None:
        inner = caught(lambda: Sum().create("x"))  # type: ignore[arg-type]
        raise ExceptionGroup("several", [inner])

    text = user_traceback(caught(user))
    assert "ExceptionGroup: several" in text
    assert "| " in text
    assert "frames of the engine" in text
    assert "aggregators.py" not in text


def test_an_error_of_the_engine_without_user_frames() -> None:
    """One that was raised on purpose needs no traceback; a defect of ours comes whole."""
    refused = caught(lambda: read_call("x", "mapper"))
    assert isinstance(refused, JobDefinitionError)
    assert user_traceback(MapReduceError("said on purpose")) == ""
    assert "AssertionError: ours" in user_traceback(AssertionError("ours"))


def test_the_text_is_bounded() -> None:
    """A huge message is cut in the middle: the first frames and the end of the message stay."""

    def user() -> None:
        raise ValueError("x" * 10 * FAILURE_TEXT_CHARS + "the end")

    text = user_traceback(caught(user))
    assert len(text) <= FAILURE_TEXT_CHARS
    assert text.startswith("Traceback (most recent call last)")
    assert "cut here" in text
    assert text.rstrip().endswith("the end")


def test_demos_are_user_code() -> None:
    """Frames of the bundled demos are shown, those of the engine's packages are not."""
    assert not is_engine_file(str(load_job("@word_count").module.__file__))
    assert is_engine_file(str(mapreduce.__file__))
