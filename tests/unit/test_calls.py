"""What a user's function takes is read from its signature, and what makes no sense is refused with the fix."""

from __future__ import annotations

import enum
import functools
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from mapreduce.calls import Call, convert_parameters, title_of
from mapreduce.errors import JobDefinitionError
from mapreduce.job import Job
from mapreduce.signatures import read_call

if TYPE_CHECKING:
    from decimal import Decimal


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


def sized(line: str, size: int = 3) -> Iterator[tuple[str, int]]:
    yield line, size


def plain(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def with_options(line: str, *, ctx: object, min_len: int = 3, lower: bool = False) -> Iterator[tuple[str, int]]:
    yield f"{line} {ctx} {min_len} {lower}", 1


def refused(function: Any, role: str = "mapper", *, first_step: bool = True) -> str:
    with pytest.raises(JobDefinitionError) as caught:
        read_call(function, role, first_step=first_step)
    return str(caught.value)


def test_required_positional_parameters_are_the_record() -> None:
    """One means the value, two mean key and value; builtins count by their required ones, as `str.split` takes one."""
    assert read_call(plain, "mapper").positional == 1
    assert read_call(lambda key, value: [], "mapper").positional == 2
    assert read_call(str.split, "keys").positional == 1
    assert read_call(operator.itemgetter(1), "keys").positional == 1
    assert read_call(int, "keys").positional == 1
    assert read_call(json.loads, "records").parameters == ()


def test_a_function_with_nothing_to_bind_stays_as_it_is() -> None:
    """str.split is handed to the loop itself, so that it runs without a Python frame."""
    assert read_call(str.split, "keys").bind({"unrelated": 1}, None) is str.split
    assert read_call(plain, "mapper").bind({}, None) is plain


def test_context_and_parameters_are_bound_by_keyword() -> None:
    """`ctx` gets the context, others the job's parameters; those that are not set keep their defaults."""
    call = read_call(with_options, "mapper")
    assert call.wants_context
    assert call.is_generator
    assert [str(parameter) for parameter in call.parameters] == ["min_len: int = 3", "lower: bool = False"]
    assert list(call.bind({"min_len": 5, "other": 1}, "C")("x")) == [("x C 5 False", 1)]


def test_functions_of_installed_packages_are_taken_as_they_are(tmp_path: Path) -> None:
    """They cannot be changed: positional defaults are left alone, and keyword-only arguments are parameters."""
    path = tmp_path / "site-packages" / "tokens.py"
    scope: dict[str, Any] = {}
    text = "def words(text, language='en', *more, lower: bool = True, **options):\n    return [text, lower]\n"
    exec(compile(text, str(path), "exec"), scope)
    call = read_call(scope["words"], "keys")
    assert call.positional == 1
    assert [parameter.name for parameter in call.parameters] == ["lower"]
    assert call.bind({"lower": False}, None)("A") == ["A", False]


def test_partials_and_wrapped_functions_are_read_through() -> None:
    """A partial's keywords become parameters with new defaults; functools.wraps keeps the signature."""

    @functools.wraps(with_options)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return with_options(*args, **kwargs)

    partial = functools.partial(with_options, min_len=7)
    assert {p.name: p.default for p in read_call(partial, "mapper").parameters} == {"min_len": 7, "lower": False}
    assert read_call(wrapper, "mapper").wants_context
    assert list(read_call(wrapper, "mapper").bind({"lower": True}, "C")("x")) == [("x C 3 True", 1)]


@pytest.mark.parametrize(
    ("function", "role", "words"),
    [
        (lambda line, n=3: [], "mapper", ["'n'", "keyword-only", "def mapper(line, *, n=3)"]),
        (lambda *parts: [], "mapper", ["*parts", "def mapper(value)"]),
        (lambda line, **options: [], "mapper", ["**options", "name its parameters"]),
        (lambda a, b, c: [], "mapper", ["(a, b, c)", "*, c"]),
        (lambda: iter(()), "mapper", ["no positional parameter"]),
        (lambda values: [], "reducer", ["def reducer(key, values)"]),
        (lambda key: 0, "partitioner", ["def partitioner(key, partitions)"]),
        (lambda line, ctx: [], "mapper", ["`*, ctx`"]),
        ("split", "mapper", ["must be a function", "'split'"]),
    ],
)
def test_signatures_that_make_no_sense_are_refused_with_the_fix(function: Any, role: str, words: list[str]) -> None:
    """The message names the function, what it takes and what to write."""
    message = refused(function, role)
    assert all(word in message for word in words), message


def test_later_steps_get_key_and_value() -> None:
    """A mapper of one parameter fits the first step only."""
    assert "def mapper(key, value)" in refused(plain, first_step=False)
    assert read_call(lambda k, v: [], "mapper", first_step=False).positional == 2


def test_async_functions_are_refused() -> None:
    """Coroutines, async generators and async __call__ would never be awaited."""

    async def coroutine(line: str) -> None: ...

    async def generator(line: str) -> Any:
        yield line

    class Mapper:
        async def __call__(self, line: str) -> None: ...

    for function in (coroutine, generator, Mapper, Mapper(), functools.partial(coroutine)):
        message = refused(function)
        assert "async" in message
        assert "`def`" in message


class Counter:
    def __init__(self, *, top: int = 2, ctx: Any) -> None:
        self.top, self.ctx, self.seen = top, ctx, 0

    def __call__(self, line: str, *, loud: bool = False) -> list[tuple[str, int]]:
        self.seen += 1
        return [(line.upper() if loud else line, self.seen)]

    def finish(self, *, ctx: Any) -> list[tuple[str, int]]:
        return [(f"{ctx}", self.seen * self.top)]


def test_a_mapper_class_makes_one_object_for_each_attempt() -> None:
    """State never leaks from one attempt to another; __init__, __call__ and finish take parameters and ctx."""
    call = read_call(Counter, "mapper")
    assert (call.is_class, call.has_finish, call.positional, call.wants_context) == (True, True, 1, True)
    assert {parameter.name for parameter in call.parameters} == {"top", "loud"}
    for _ in range(2):
        function, finish = call.start({"top": 10, "loud": True}, "C")
        assert function("a") == [("A", 1)]
        assert function("b") == [("B", 2)]
        assert finish is not None
        assert finish() == [("C", 20)]


def test_mapper_classes_that_cannot_be_made_are_refused() -> None:
    """__init__ takes keyword-only parameters, finish takes nothing, and only mappers may be classes."""

    class Needs:
        def __init__(self, model: str) -> None: ...

        def __call__(self, line: str) -> list[tuple[str, int]]:
            return []

    class Finishes:
        def __call__(self, line: str) -> list[tuple[str, int]]:
            return []

        def finish(self, line: str) -> None: ...

    class Empty:
        pass

    assert "def __init__(self, *, model)" in refused(Needs)
    assert "def finish(self)" in refused(Finishes)
    assert "only a mapper may be one" in refused(Counter, "reducer")
    assert "__call__(self, value)" in refused(Empty)


def test_text_becomes_the_type_of_the_annotation_or_default() -> None:
    """Annotations decide, also as strings; without one the default's type does."""

    def mapper(  # type: ignore[no-untyped-def]  # `bare` has no annotation on purpose
        line: str,
        *,
        n: int,
        ratio: float = 0.5,
        on: bool = False,
        top: int | None = None,
        names: list[str] = [],  # noqa: B006 - only its type matters here
        pair: tuple[int, float] = (1, 2.0),
        where: Path = Path(),
        mode: Literal["fast", "slow"] = "fast",
        colour: Colour = Colour.RED,
        price: Decimal | None = None,
        bare=7,
    ) -> list[tuple[str, int]]:
        return []

    texts = {
        "n": "-4",
        "ratio": "1e3",
        "on": "yes",
        "top": "none",
        "names": "a, b",
        "pair": "3,4",
        "where": "/x/y",
        "mode": "slow",
        "colour": "BLUE",
        "bare": "8",
    }
    assert convert_parameters(Job(mapper), texts) == {
        "n": -4,
        "ratio": 1000.0,
        "on": True,
        "top": None,
        "names": ["a", "b"],
        "pair": (3, 4.0),
        "where": Path("/x/y"),
        "mode": "slow",
        "colour": Colour.BLUE,
        "bare": 8,
    }
    assert convert_parameters(Job(mapper), {"n": 3, "top": "12"}) == {"n": 3, "top": 12}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min_len": "three"}, ["min_len: int = 3", "'three'", "whole number", "with_options"]),
        ({"min_len": 2.5}, ["whole number", "float"]),
        ({"min_len": True}, ["whole number", "bool"]),
        ({"lower": "maybe"}, ["true or false"]),
        ({"min_length": "3"}, ["no parameter 'min_length'", "did you mean 'min_len'", "lower: bool = False"]),
        ({"ctx": "3"}, ["no parameter 'ctx'"]),
    ],
)
def test_wrong_parameters_are_refused_naming_the_known_ones(given: dict[str, Any], words: list[str]) -> None:
    """The error shows the value, the parameter with its type and default, and near names."""
    with pytest.raises(JobDefinitionError) as caught:
        convert_parameters(Job(with_options), given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_parameter_without_default_must_be_given() -> None:
    """What is missing is named before anything starts, with how to give it."""

    def mapper(line: str, *, stop: str) -> list[tuple[str, int]]:
        return []

    with pytest.raises(JobDefinitionError, match=r"needs a value for `stop: str`.*-p stop="):
        convert_parameters(Job(mapper), {})
    assert convert_parameters(Job(mapper), {"stop": "the"}) == {"stop": "the"}


def test_a_job_without_parameters_says_how_to_have_one() -> None:
    """-p on a job whose functions take none explains keyword-only arguments."""
    with pytest.raises(JobDefinitionError, match=r"takes no parameters.*\*, n=\.\.\."):
        convert_parameters(Job(plain), {"n": "3"})


def test_two_functions_may_share_a_parameter_only_if_they_agree() -> None:
    """The same name with another default or type is an error that names both functions."""

    def mapper(line: str, *, n: int = 3) -> list[tuple[str, int]]:
        return []

    def same(key: str, values: Iterator[int], *, n: int = 3) -> list[tuple[str, int]]:
        return []

    def other(key: str, values: Iterator[int], *, n: int = 4) -> list[tuple[str, int]]:
        return []

    def typed(key: str, values: Iterator[int], *, n: float = 3) -> list[tuple[str, int]]:
        return []

    assert [str(parameter) for parameter in Job(mapper, reducer=same).parameters] == ["n: int = 3"]
    for reducer in (other, typed):
        with pytest.raises(JobDefinitionError, match=r"'n' is declared twice.*mapper.*reducer"):
            Job(mapper, reducer=reducer)


def test_a_function_called_like_its_role_is_named_once() -> None:
    """Messages say "the mapper (f.py:1)" or "the mapper plain (f.py:1)", never "the mapper mapper"."""
    scope: dict[str, Any] = {}
    exec("def mapper(line, size=3): ...", scope)
    for function, said in (
        (scope["mapper"], "the mapper (<string>:1) has"),
        (sized, "the mapper sized (test_calls.py"),
    ):
        with pytest.raises(JobDefinitionError) as refused:
            read_call(function, "mapper")
        assert said in str(refused.value)


def test_a_call_names_its_place() -> None:
    """For errors and `describe`: the function's name with file and line, or the name alone."""
    title = read_call(plain, "mapper").title
    assert title.startswith("plain (test_calls.py:")
    assert Call(str.split, "keys", 1).title == "str.split"


def test_a_wrapper_is_no_generator_though_it_wraps_one() -> None:
    """What counts is the function that is called: a decorator's wrapper may return anything, so it is looked at."""

    def generator(line: str) -> Iterator[tuple[str, int]]:
        yield line, 1

    @functools.wraps(generator)
    def wrapper(line: str) -> dict[str, int]:
        return dict(generator(line))

    assert read_call(generator, "mapper").is_generator
    assert not read_call(wrapper, "mapper").is_generator


def takes_one(line, *, least, ctx=None):
    """What the bound function is a copy of."""
    return line, least, ctx


def test_bound_arguments_cost_a_call_nothing():
    """A function gets them as its own defaults, in a copy that has its name and place; the function stays as it is."""
    call = read_call(takes_one, "mapper")
    bound = call.bind({"least": 3, "other": 4}, "context")
    assert isinstance(bound, FunctionType)
    assert bound("a") == ("a", 3, "context")
    assert title_of(bound) == title_of(takes_one)
    assert takes_one.__kwdefaults__ == {"ctx": None}


def test_arguments_of_a_wrapped_function_are_bound_by_name():
    """The wrapper itself has no such parameters, and hands on what it is given."""

    @functools.wraps(takes_one)
    def wrapper(*arguments, **keywords):
        return takes_one(*arguments, **keywords)

    assert read_call(wrapper, "mapper").bind({"least": 3}, "context")("a") == ("a", 3, "context")
