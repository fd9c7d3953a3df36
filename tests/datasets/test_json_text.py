from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videochat_r1.datasets.base import read_items
from videochat_r1.errors import DataError

ROWS = [{"id": "a", "n": [1, 2]}, {"id": "é", "n": []}]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
MAPPING = {"V1": {"x": 1}, "V2": {"x": 2}}


def items(tmp_path: Path, data: bytes | str, outermost: str = "list") -> list[tuple[str | None, object, int]]:
    path = tmp_path / "rows.json"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [(item.key, item.value, item.line) for item in read_items(path, outermost)]


@pytest.mark.parametrize(
    "data, lines",
    [
        (json.dumps(ROWS), [1, 1]),
        (json.dumps(ROWS, indent=1), [2, 9]),
        (json.dumps(ROWS, indent=1).replace("\n", "\r\n"), [2, 9]),
        (JSONL, [1, 2]),
        (JSONL.rstrip(), [1, 2]),
        (JSONL.replace("\n", "\r\n"), [1, 2]),
        ("\n\n" + JSONL.replace("\n", "\n  \n"), [3, 5]),
        (b"\xef\xbb\xbf" + JSONL.encode(), [1, 2]),
        (b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), [1, 1]),
    ],
    ids=["one line", "indented", "CRLF", "JSONL", "no last line end", "JSONL with CRLF", "blank lines", "JSONL with BOM", "JSON with BOM"],
)
def test_a_list_is_read_in_every_form_that_is_in_use(tmp_path, data, lines):
    assert items(tmp_path, data) == [(None, row, line) for row, line in zip(ROWS, lines, strict=True)]


def test_one_row_alone_is_jsonl(tmp_path):
    assert items(tmp_path, '{"id": "a"}') == [(None, {"id": "a"}, 1)]


@pytest.mark.parametrize("data", ['{"V1": {"x": 1}, "V2": {"x": 2}}', '{"V1": {"x": 1}}\n{"V2": {"x": 2}}\n'], ids=["JSON", "JSONL"])
def test_an_object_of_entries(tmp_path, data):
    assert [(key, value) for key, value, _ in items(tmp_path, data, "object")] == list(MAPPING.items())


def test_an_empty_list_and_an_empty_object(tmp_path):
    assert items(tmp_path, "[]") == [] and items(tmp_path, " { } ", "object") == []


@pytest.mark.parametrize(
    "data, outermost, at, said",
    [
        (b"", "list", "", "empty"),
        (b" \n ", "list", "", "empty"),
        (b"[1,\n 2,]", "list", ":2:3", "comma before the closing ]"),
        (b'[{"a": [1, 2,]}]', "list", ":1:13", "comma before the closing"),
        (b'{"a": {"b": 1,}}', "object", ":1:14", "comma before the closing"),
        (b'{"a": 1,\n}', "object", ":1:8", "comma before the closing }"),
        (b'[{"a": 1},\n {"a": ', "list", ":2:7", "ends in the middle"),
        (b'[{"a": 1}, {"a": "xy', "list", ":1:21", "ends in the middle"),
        (b'[{"a": 1}', "list", ":1:10", "ends in the middle"),
        (b'{"a": {"b": 1}', "object", ":1:15", "ends in the middle"),
        (b'{"a"', "object", ":1:5", "ends in the middle"),
        (b'{"id": "a"}\n{"id": "b", "n', "list", ":2:15", "ends in the middle"),
        (b'{"id": "a"}\n{"id": \n{"id": "c"}\n', "list", ":2:7", "ends in the middle"),
        (b'{"id": "a"}\n{"id": "b"} {"id": "c"}\n', "list", ":2:13", "more on the line"),
        (b"[" * 100_000, "list", ":1:2", "nested too deep"),
        (b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "list", ":1:1", "nested too deep"),
        (b'{"V1": {"x": 1},\n "V1": {"x": 2}}', "object", ":2:2", "'V1' stands twice"),
        (b'[{"id": "a",\n "id": "b"}]', "list", ":2:2", "'id' stands twice"),
        (b'{"id": "a", "id": "b"}\n', "list", ":1:13", "'id' stands twice"),
        ('[{"id": "a"},\n {"id": "caf\u00e9"}]'.encode("latin-1"), "list", ":2:13", "not UTF-8"),
        ('[{"id": "a"}]'.encode("utf-16"), "list", "", "UTF-16"),
        (bytes(range(256)), "list", "", "binary"),
        (b"[{'id': 'a'}]", "list", ":1:3", "single quote"),
        (b'[{"id": "a"} {"id": "b"}]', "list", ":1:14", "expected a comma"),
        (b'[{"id": "a"}]\n[]', "list", ":2:1", "more after the closing ]"),
        (b'{"a" 1}', "object", ":1:6", "expected a colon"),
        (b"{1: 2}", "object", ":1:2", "key in double quotes"),
        (b'{\n "rows": []\n}', "list", ":1:1", "expected a list of rows, found an object"),
        (b"[1, 2]", "object", ":1:1", "expected an object"),
        (b"12", "list", ":1:1", "expected a list or an object"),
        (b"hello", "list", ":1:1", "expecting value"),
        (b"<!DOCTYPE html>", "list", ":1:1", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "list", "", "Git LFS"),
        (b'[{"n": ' + b"9" * 5000 + b"}]", "list", ":1:2", "limit"),
        (b'[{"id": "a\x00b"}]', "list", ":1:11", "control character"),
    ],
)
def test_a_broken_file_is_told_with_its_place_and_its_mend(tmp_path, data, outermost, at, said):
    with pytest.raises(DataError) as fault:
        items(tmp_path, data, outermost)
    assert f"rows.json{at}" in fault.value.what and said in fault.value.what, fault.value.what
    assert fault.value.mend


def test_numbers_that_json_does_not_have_are_left_to_the_row(tmp_path):
    ((_, value, _),) = items(tmp_path, "[[NaN, Infinity, -Infinity, 1e999]]")
    assert [str(number) for number in value] == ["nan", "inf", "-inf", "inf"]


def test_what_is_not_a_file(tmp_path):
    (tmp_path / "train.json").write_text("[]")
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
        (tmp_path / "trian.json", "No file"),
        (Path("a\0b"), "null"),
    ]:
        with pytest.raises(DataError) as fault:
            list(read_items(path, "list"))
        assert said in fault.value.what
    with pytest.raises(DataError, match=r"Did you mean train\.json"):
        list(read_items(tmp_path / "trian.json", "list"))


def test_a_path_that_is_not_there_suggests_no_name_of_another_kind(tmp_path):
    """`/nope` once gave "Did you mean opt?": a folder, and no slip of the fingers."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "note.md").write_text("")
    with pytest.raises(DataError, match=r"holds no annotation file"):
        list(read_items(tmp_path / "nope", "list"))
    (tmp_path / "test.json").write_text("[]")
    with pytest.raises(DataError, match=r"holds: test\.json\."):
        list(read_items(tmp_path / "nope", "list"))


def test_an_ending_that_many_share_makes_no_two_names_alike(tmp_path):
    (tmp_path / "enc.jsonl").write_text("")
    with pytest.raises(DataError, match=r"holds: enc\.jsonl"):
        list(read_items(tmp_path / "nope.jsonl", "list"))
    (tmp_path / "enc.jsonl").rename(tmp_path / "encs.json")
    with pytest.raises(DataError, match=r"Did you mean encs\.json\?"):
        list(read_items(tmp_path / "encs.jsonl", "list"))


def test_of_two_bad_lines_the_first_is_named(tmp_path):
    good, broken, latin = b'{"id": "a"}\n', b'{"id": oops\n', b'{"id": "\xe9"}\n'
    for data, at in [
        (good + broken + latin, ":2:8"),
        (good + latin + broken, ":2:9: byte 0xe9 is not UTF-8"),
        (latin + broken, ":1:9: byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbf" + good + latin, ":2:9: byte 0xe9 is not UTF-8"),
    ]:
        with pytest.raises(DataError) as fault:
            items(tmp_path, data)
        assert at in fault.value.what, data


def test_one_line_of_megabytes_is_read_in_no_time(tmp_path):
    rows = [{"id": str(n), "meta": "x" * 50} for n in range(100_000)]
    start = time.process_time()
    assert len(items(tmp_path, json.dumps(rows))) == 100_000
    assert time.process_time() - start < 3.0


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_give_anything_but_items_or_a_data_error(tmp_path_factory, data):
    clean = data.draw(st.sampled_from([json.dumps(ROWS), json.dumps(ROWS, indent=1), JSONL, json.dumps(MAPPING)])).encode()
    start, length = data.draw(st.integers(0, len(clean))), data.draw(st.integers(0, 6))
    mutated = (
        clean[:start] + data.draw(st.binary(max_size=6) | st.sampled_from([b",", b"{", b"]", b"\n", b'"', b"\\"])) + clean[start + length :]
    )
    path = tmp_path_factory.mktemp("bytes") / "rows.json"
    path.write_bytes(mutated)
    for outermost in ("list", "object"):
        try:
            found = list(read_items(path, outermost))
        except DataError as fault:
            assert fault.what and fault.mend
        else:
            assert all(item.line >= 1 for item in found)
