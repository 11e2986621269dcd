"""Finished outputs are read by their manifest; what is damaged, missing or replaced meanwhile is told."""

import io

import pytest
from folder_outputs import committed

from mapreduce.dataflow.manifest import folder as manifest
from mapreduce.dataflow.manifest.folder import (
    read_manifest,
    read_output,
)
from mapreduce.errors import OutputError


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_reading_a_damaged_output(tmp_path, damage):
    """A missing part, or one of another size, is an error that names it."""
    committed(tmp_path)
    if damage == "missing":
        (tmp_path / "part-00002").unlink()
    else:
        (tmp_path / "part-00002").write_bytes(b"c")
    with pytest.raises(OutputError, match="part-00002"):
        list(read_output(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 7}', '{"version": 1, "files": [{"name": "../x"}]}'])
def test_damaged_manifest(tmp_path, text):
    """A manifest that is none is an error that names it."""
    (tmp_path / "_SUCCESS").write_text(text)
    with pytest.raises(OutputError, match="_SUCCESS"):
        read_output(tmp_path).__next__()


def test_manifest_names_only_parts(tmp_path):
    """A manifest that names a file or an output elsewhere is refused."""
    committed(tmp_path)
    text = (tmp_path / "_SUCCESS").read_text()
    for old, new in (
        ("part-00000", "../secret"),
        ("part-00000", "part-00000-/../secret"),
        ('"outputs": {}', '"outputs": {"../secret": 1}'),
    ):
        (tmp_path / "_SUCCESS").write_text(text.replace(old, new))
        with pytest.raises(OutputError, match="secret"):
            read_manifest(tmp_path)


def test_no_output(tmp_path):
    """A folder without a manifest holds no output."""
    with pytest.raises(OutputError, match="no finished output"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("output_format", ["tsv", "jsonl", "parquet", "records"])
def test_to_a_stream(tmp_path, output_format):
    """An output goes to a stream as text, whole or its first records, else as TSV; what is left out is counted."""
    parts = [[("a", "x\ty\r"), ("b", "z")], [], [("c", "w")]]
    committed(tmp_path, parts=parts, output_format=output_format)
    lines = [b"a\tx\\ty\\r\n", b"b\tz\n", b"c\tw\n"]
    if output_format == "jsonl":
        lines = [b'{"key":"a","value":"x\\ty\\r"}\n', b'{"key":"b","value":"z"}\n', b'{"key":"c","value":"w"}\n']
    for limit in (None, 0, 1, 2, 3, 4):
        stream = io.BytesIO()
        left = manifest.write_text_to(stream, tmp_path, limit)
        expected = lines[:limit]
        assert stream.getvalue() == b"".join(expected)
        assert left == len(lines) - len(expected)


def test_reader_meets_an_overwrite(tmp_path, monkeypatch):
    """A reader whose parts vanish because the output was overwritten reads the new one."""
    committed(tmp_path, "j1", overwrite=True)
    real = manifest.part_paths
    seen = []

    def overwritten_meanwhile(output, facts):
        if not seen:
            seen.append(facts)
            committed(tmp_path, "j2", [[("new", 1)]], overwrite=True)
        return real(output, facts)

    monkeypatch.setattr(manifest, "part_paths", overwritten_meanwhile)
    assert list(read_output(tmp_path)) == [("new", 1)]
