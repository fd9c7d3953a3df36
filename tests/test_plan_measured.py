"""`plan --measured` of files that hold no measurement: two lines and an exit code, whatever is in them."""

from __future__ import annotations

import pytest
from tests.command_line import fault

RECIPE = '[policy]\npath = "Qwen/Qwen2.5-VL-7B-Instruct"\n[[data]]\nname = "charades_sta"\nannotations = "not-here.json"\n'
NONE = "holds no measured phases"
FILES = {
    "empty": (b"", "step.json is empty.\nThe file may be cut off."),
    "cut off": (b'{"rows": [', "cannot be read as JSON"),
    "no text": (b"\xff\xfe\x00", "cannot be read as JSON"),
    "nested without end": (b"[" * 100_000, "cannot be read as JSON"),
    "a list": (b"[]", "holds no JSON object"),
    "an object of something else": (b"{}", NONE),
    "no rows": (b'{"rows": []}', NONE),
    "rows that are a number": (b'{"rows": 3}', NONE),
    "rows that are nothing": (b'{"rows": null}', NONE),
    "rows of other ways alone": (b'{"rows": [{"way": "C", "seconds": {"rollout": 1.0}}]}', NONE),
    "phases that nobody knows": (b'{"phases": {"breakfast": 1.0}}', NONE),
    "seconds in a list": (b'{"rows": [{"way": "D", "seconds": [1.0]}]}', "seconds: "),
    "a peak in words": (b'{"phases": {"rollout": 1.0}, "peak_bytes": {"update": "much", "rollout": 1}}', "peak_gib: "),
    "a peak of nothing": (b'{"phases": {"rollout": 1.0}, "peak_bytes": {"update": 0}}', "peak_gib: "),
}


@pytest.mark.parametrize("content, said", FILES.values(), ids=FILES)
def test_a_file_without_a_measurement_is_told(tmp_path, capsys, content, said):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "step.json").write_bytes(content)
    assert said in fault(capsys, 2, "plan", tmp_path / "recipe.toml", "--measured", tmp_path / "step.json")
