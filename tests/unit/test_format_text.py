"""Formats as texts, and which input of a job they are meant for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import Arrow, Csv, Files, FixedLength, Input, Job, JsonLines, Msgpack, Parquet, Records, Text
from mapreduce.errors import JobDefinitionError, UsageError
from mapreduce.format_text import format_of, format_used, formats_meant, read_formats, spec_of

NAMES = st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True).map(tuple)
SEPARATORS = st.characters(exclude_characters='\r\n"', exclude_categories=[])
FORMATS = st.one_of(
    st.sampled_from([Text(), JsonLines(), JsonLines(nan=True), Msgpack(), Records(), Files(), Files(text=True)]),
    st.builds(FixedLength, st.integers(1, 1 << 20), skip=st.integers(0, 1 << 30)),
    st.builds(Parquet, st.none() | NAMES),
    st.builds(Arrow, st.none() | NAMES),
    st.builds(Csv, header=st.booleans(), separator=SEPARATORS, quoted_newlines=st.booleans()),
    st.builds(Csv, columns=NAMES),
)


@given(FORMATS)
def test_a_format_comes_back_from_its_text(one):
    """Every format has a text of one line without spaces, from which it comes back, whatever its options hold."""
    text = spec_of(one)
    assert format_of(text) == one
    assert text.isascii()
    assert text.split() == [text]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("csv", Csv()),
        ("csv:separator=;,header=no", Csv(separator=";", header=False)),
        ("csv:separator=tab", Csv(separator="\t")),
        ("csv:quoted_newlines=no,columns=a+b%2Bc", Csv(quoted_newlines=False, columns=("a", "b+c"))),
        ("fixed:100", FixedLength(100)),
        ("fixed:100,skip=16", FixedLength(100, skip=16)),
        ("files:text=yes", Files(text=True)),
        ("jsonl:nan=yes", JsonLines(nan=True)),
        ("arrow", Arrow()),
    ],
)
def test_texts_as_people_write_them(text, meant):
    """A length stands alone, other options have names, and a separator may be written as it is."""
    assert format_of(text) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tsv",
            "'tsv' is no input format: write one of text, files, csv, jsonl,",
        ),
        ("", "'' is no input format"),
        ("fixed", "'fixed' needs the length of a record behind it, such as fixed:100"),
        ("fixed:x", "length= is a whole number, not 'x'"),
        ("fixed:0", "a number of bytes from 1 to"),
        ("fixed:3,4", "has no option '4'; it has length, skip=, with a comma between"),
        ("fixed:3,length=3", "length is given twice"),
        ("msgpack:3", "has no option '3'; write msgpack alone"),
        ("jsonl:3", "the format jsonl has no option '3'; it has nan="),
        ("csv:head=no", "has no option 'head=no'; it has header=, separator="),
        ("csv:header=maybe", "header= is yes or no, not 'maybe'"),
        ("csv:separator=ab", "separator= of Csv is one character"),
        ("csv:separator=,", "the value of separator= ends at the comma; write separator=tab for a tab, separator=%2C"),
        ("csv:separator=,,header=no", "separator=%2C for a comma, separator=%3B for a semicolon"),
        (r"csv:separator=\t", r"not '\\t'; write separator=tab for a tab"),
        ("csv:separator=", "write separator=tab for a tab"),
        ("csv:columns=a,b", "the value of columns= ends at the comma; write + between the names"),
        ("tsv", "fields with tabs between are csv:separator=tab"),
        ("parquet:columns=a+a", "at least one column, and each once"),
        ("csv:header=no,columns=a", "leave header=False out"),
    ],
)
def test_what_is_no_text_of_a_format_is_refused(text, message):
    """The error shows the text, and what may stand there."""
    with pytest.raises(UsageError) as caught:
        format_of(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(("value", "separator"), [("tab", "\t"), ("%2C", ","), ("%3B", ";"), (";", ";"), ("|", "|")])
def test_separators_are_written_as_the_error_says(value, separator):
    """A tab, a comma and a semicolon can be said on a command line."""
    assert format_of(f"csv:separator={value},header=no") == Csv(separator=separator, header=False)


def same(record):
    yield record, 1


ONE = Job(same, input=Parquet())
TWO = Job(inputs={"a": Input(same), "b": Input(same, format=Csv())}, reducer=lambda key, values: [(key, sum(values))])


def meant(job, formats=None, columns=()):
    inputs = job.resolved[0].inputs
    found = formats_meant(job.name, inputs, formats, columns)
    return [format_used(found, one, number) for number, one in enumerate(inputs)]


def test_formats_go_to_the_inputs_they_name():
    """What is said takes the place of the job's own format, input by input; columns are of the format that is used."""
    assert meant(ONE) == [Parquet()]
    assert meant(ONE, "csv") == meant(ONE, ["csv"]) == [Csv()]
    assert meant(ONE, None, ["x,y"]) == [Parquet(("x", "y"))]
    assert meant(ONE, ["arrow"], ["x=y"]) == [Arrow(("x=y",))]
    assert meant(TWO, {"a": "jsonl"}) == meant(TWO, ["a=jsonl"]) == [JsonLines(), Csv()]
    assert meant(TWO, ["b=csv:separator=;", "a=fixed:9"], ["b=id"]) == [
        FixedLength(9),
        Csv(separator=";", columns=("id",)),
    ]
    assert formats_meant("job", TWO.resolved[0].inputs, ["b=csv"], ()) == ["", ""]


@pytest.mark.parametrize(
    ("job", "formats", "columns", "message"),
    [
        (ONE, ["csv", "jsonl"], [], "--input-format jsonl: it is given twice"),
        (ONE, {"a": "csv"}, [], "has one input, without a name"),
        (ONE, None, ["x,x"], "--columns x,x: columns= of Parquet names at least one column, and each once"),
        (ONE, ["jsonl"], ["x"], "--columns x: the format jsonl has no columns to choose from"),
        (TWO, ["csv"], [], "has several inputs: write --input-format a=FORMAT, --input-format b=FORMAT"),
        (TWO, {"c": "csv"}, [], "has no input 'c'"),
        (TWO, None, ["c=x"], "has no input 'c': write --columns a=A,B, --columns b=A,B"),
        (TWO, ["a=csv", "a=csv"], [], "it is given twice for the input a"),
    ],
)
def test_what_fits_no_input_is_refused(job, formats, columns, message):
    """The error says what to write instead."""
    with pytest.raises(UsageError) as caught:
        meant(job, formats, columns)
    assert message in str(caught.value)


def test_programs_give_formats_as_objects_or_texts():
    """Alone or by the inputs' names; a class in place of an object, or something else, is refused."""
    assert read_formats(None) is None
    assert read_formats(Csv(separator=";")) == read_formats("csv:separator=;") == "csv:separator=%3B"
    assert read_formats({"a": Files(), "b": "fixed:3"}) == {"a": "files", "b": "fixed:3"}
    with pytest.raises(JobDefinitionError, match=r"input_format=Csv\(\), an object"):
        read_formats(Csv)
    with pytest.raises(JobDefinitionError, match="must be a format"):
        read_formats(3)


def test_msgpack_has_no_frames():
    """Objects without one type make no columns: refused where the job is made, and where another format is meant."""
    with pytest.raises(JobDefinitionError, match="frames=True is not for Msgpack"):
        Job(same, input=Msgpack(), frames=True)
    with pytest.raises(JobDefinitionError, match="frames=True is not for Msgpack"):
        meant(Job(same, frames=True), "msgpack")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedLength(True), "length= of FixedLength is a number of bytes from 1 to"),
        (lambda: FixedLength(4, skip=-1), "skip= of FixedLength is a number of bytes from 0 to"),
        (lambda: Csv(header="yes"), "header= of Csv is True or False"),
        (lambda: Csv(quoted_newlines=0), "quoted_newlines= of Csv is True or False"),
        (lambda: Csv(columns="name"), "columns= of Csv is a tuple of names"),
        (lambda: Csv(columns=["a"], header=False), "leave header=False out, or the columns"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    """Where the format is made, in words that name the option."""
    with pytest.raises(JobDefinitionError) as caught:
        make()
    assert message in str(caught.value)
