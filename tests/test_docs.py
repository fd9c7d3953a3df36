"""What the documents show is run: the task of docs/tour.md, and the commands that README names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from videochat_r1.cli import main
from videochat_r1.datasets.base import DataSource, read_samples
from videochat_r1.evaluation.figures import figures
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task

ROOT = Path(__file__).parents[1]


def test_the_task_of_the_tour_reads_scores_and_writes(tmp_path):
    code = re.search(r"```python\n(\"\"\"counting\.py.*?)```", (ROOT / "docs/tour.md").read_text(), re.DOTALL)
    assert code is not None
    path = tmp_path / "counting.py"
    path.write_text(code[1])
    rows = [
        {"id": f"a-{n}", "task": "video_qa", "video": f"{n}.mp4", "question": "a dog barks", "answer": {"label": str(n)}} for n in (2, 3)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = read_samples(DataSource(name="jsonl", annotations=str(tmp_path / "rows.jsonl"), task=str(path)))
    assert [sample.truth.label for sample in loaded.samples] == ["2", "3"]
    task, asking = load_task(loaded.samples[0].task), Asking()
    texts = [task.write(loaded.samples[0].truth, asking), "<answer>7</answer>"]
    readings = [task.read(text, sample, asking) for text, sample in zip(texts, loaded.samples, strict=True)]
    assert figures(task, loaded.samples, readings, resamples=0)["accuracy"] == pytest.approx(50.0)
    assert task.read("about 7", loaded.samples[0], asking).reason == "no_number"


def test_every_command_that_the_readme_names_is_known(capsys):
    commands = set(re.findall(r"videochat-r1 ([a-z]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "train", "evaluate", "score", "baselines", "data", "world"} <= commands
    for command in sorted(commands):
        assert main([command, "--help"]) == 0, command
        assert "usage: videochat-r1" in capsys.readouterr().out, command


def test_links_of_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "recipes/README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
