"""The report of a run: what it says, that it says it the same everywhere, and that no text can break it."""

from __future__ import annotations

import html.parser
import io
import json
import os
import re
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.evaluation.trial import answered, candidates, drawn_clip, figures, metrics_rows, payload, tracking_example, trial_report

from videochat_r1.errors import EnvironmentFault
from videochat_r1.evaluation import charts, legend, plots, tables
from videochat_r1.evaluation.curves import Series, phase_seconds, read_metrics, reward_series, smoothed
from videochat_r1.evaluation.examples import chosen_text, duration_of, strip, timeline
from videochat_r1.evaluation.live import Live, duration_text
from videochat_r1.evaluation.report import Example, Report, choose_examples, console_table, describe_environment, write_report
from videochat_r1.types import Answer, Sample

HOSTILE = (
    '</style></script><script>alert(1)</script><img src=x onerror=alert(2)>" onload="alert(3)\' `|[x](javascript:alert(4)) '
    "\x00\x1b[31m\u202e $\\frac{ &lt; \ud800 ${title} www.a.b"
)


class Structure(html.parser.HTMLParser):
    """Tags, attributes and texts of a page, and whether every tag is closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "input", "br", "img", "hr", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report, float]:
    folder = tmp_path_factory.mktemp("run")
    report = trial_report(folder)
    start = time.process_time()
    write_report(folder, report)
    return folder, report, time.process_time() - start


def test_a_report_has_all_its_files_and_takes_seconds(written: tuple[Path, Report, float]) -> None:
    folder, report, seconds = written
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"reward_curves.png", "training.png", "before_after.png", "levels.png"} <= names
    assert {f"example_{number:02d}.png" for number in range(1, len(report.examples) + 1)} <= names
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report.payload))
    assert not list(folder.glob(".*.part"))
    assert seconds < 8


def test_figures_are_whole_pictures_of_sensible_size(written: tuple[Path, Report, float]) -> None:
    from PIL import Image

    for path in (written[0] / "figures").iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert 400 <= picture.width <= 1600 and 100 <= picture.height <= 2400, path.name
            assert sum(count > 0 for count in picture.convert("L").histogram()) > 20, f"{path.name} is blank"


def test_long_titles_of_levels_are_whole_and_stay_over_their_panels() -> None:
    row = tables.Row("temporal_grounding", "Acc&GQA by length of event", {"base": tables.Cell(0.0, 0.0, 0.0)}, {})
    with plots._style():
        figure = plots.levels_figure(
            [("< 2 s (10)", replace(row, task=task)) for task in ("temporal_grounding", "grounded_qa", "tracking")]
        )
        figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_title(loc="left").endswith("· Acc&GQA by length of event")
        assert axes._left_title.get_window_extent().x1 <= axes.get_window_extent().x1 + 1  # type: ignore[attr-defined]
        assert axes.get_ylim()[0] < 0 < 100 < axes.get_ylim()[1]


def test_figures_are_the_same_bytes_each_time(written: tuple[Path, Report, float], tmp_path: Path) -> None:
    folder, report, _ = written
    write_report(tmp_path, replace(report, examples=report.examples[:1], metrics=None))
    for name in ("before_after.png", "levels.png", "example_01.png"):
        assert (tmp_path / "figures" / name).read_bytes() == (folder / "figures" / name).read_bytes(), name


def test_markdown_links_every_figure_and_shows_the_headline_table(written: tuple[Path, Report, float]) -> None:
    folder, _, _ = written
    text = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert linked == {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    assert (
        "| Temporal grounding | mIoU | 31.4 (whole video) | 29.3 [26.3, 32.3] | 55.1 [52.1, 58.1] | 91.2 [88.2, 94.2] | +61.9 (3.1×) |"
        in text
    )
    assert "62.3 [52.6, 72.0] † | -0.2 |" in text, "a figure that is not above the trivial answer is marked"
    assert "**Lifted:** temporal grounding 29.3 → 91.2 mIoU, tracking 16.5 → 68.7 AO and grounded QA" in text
    assert "| R\\@0.7 | 2.1 | **6.0** | 4.2 [1.2, 7.2] |" in text, "the best trivial answer of each metric is bold"
    assert "| *unreadable answers* |  |  | 2 of 96 | 0 of 96 | 0 of 96 |" in text
    assert "lazy by design" in text and "    videochat-r1 demo --out runs/demo" in text and "2 min" not in text


def test_the_page_is_well_formed_and_holds_everything(written: tuple[Path, Report, float]) -> None:
    folder, report, _ = written
    page = (folder / "report.html").read_text()
    found = Structure(page)
    assert found.open == []
    words = " ".join(found.texts)
    for expected in (
        "Temporal grounding",
        "91.2",
        "[88.2, 94.2]",
        "+61.9 (3.1×)",
        "lazy by design",
        "whole video",
        "distractors",
        "videochat-r1 demo --out runs/demo",
    ):
        assert expected in words
    for example in report.examples:
        assert example.sample.id in words
    pictures = [value for tag, name, value in found.attributes if tag == "image" and name == "href"]
    assert len(pictures) == 8 * len(report.examples)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for tag, name, value in found.attributes if tag == "a" and name == "href" and value}
    assert targets and targets <= set(ids)


def test_the_page_fetches_nothing_and_runs_nothing(written: tuple[Path, Report, float]) -> None:
    import base64
    import hashlib

    page = (written[0] / "report.html").read_text()
    found = Structure(page)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    for tag, name, value in found.attributes:
        assert not name.startswith("on") and name not in ("style", "src"), (tag, name)
        if name in ("href", "xlink:href"):
            assert value is not None and value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
    policy = next(
        value for tag, name, value in found.attributes if tag == "meta" and name == "content" and value and "default-src" in value
    )
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"'sha256-{digest}'" in policy and "unsafe" not in policy


def hostile_report(folder: Path) -> Report:
    """A report in which every text is an attack."""
    results = {HOSTILE: {HOSTILE: {HOSTILE: 12.0, f"{HOSTILE}_ci95": [1.0, 20.0], "n": 3, "unparsed": 1}, "tracking": figures(AO=3.0)}}
    content = {
        "results": results | {"rft": results[HOSTILE]},
        "baselines": {HOSTILE: {HOSTILE: {HOSTILE: 5.0}}},
        "levels": {HOSTILE: results},
        "seconds": {HOSTILE: 3.0},
        "n": {HOSTILE: HOSTILE},
    }
    answers = {model: answered(HOSTILE * 20, None, HOSTILE, **{HOSTILE: 0.5}) for model in (HOSTILE, "rft")}
    sample = Sample(
        id=HOSTILE,
        task=HOSTILE,
        video=HOSTILE,
        question=HOSTILE,
        options=(HOSTILE, "b"),
        truth=Answer(choice="A", label=HOSTILE, spans=((1, 2),)),
    )
    spoken = {"rft": answered(HOSTILE, Answer(caption=HOSTILE, label=HOSTILE, events=(HOSTILE,)))}
    described = Example(
        sample=Sample(id="d", task="description", video="v", question=HOSTILE, truth=Answer(events=(HOSTILE,))),
        answers=spoken,
        clip=drawn_clip(1),
    )
    metrics = folder / "metrics.jsonl"
    metrics.write_text(
        "".join(
            json.dumps({"step": step, "reward": 1.0, f"rewards/{HOSTILE}": 0.5, f"{HOSTILE}/reward": 0.1, f"seconds/{HOSTILE}": 1}) + "\n"
            for step in (1, 2)
        )
    )
    return Report(
        title=HOSTILE,
        payload=content,
        notes=(HOSTILE,),
        commands=(HOSTILE,),
        environment={HOSTILE: HOSTILE},
        metrics=metrics,
        examples=(Example(sample=sample, answers=answers, clip=drawn_clip(1), why=HOSTILE), described),
    )


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    report = hostile_report(tmp_path)
    write_report(tmp_path, report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Structure(page)
    assert found.open == []
    assert not {"script", "img", "iframe"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert any("<script>alert(1)</script>" in text for text in found.texts), "it is shown as it was written"
    assert not set("\x00\x1b\u202e") & set(page)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    outside_code = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert "<" not in outside_code.replace("&lt;", "") and "www.a" not in outside_code
    assert not re.search(r"(?<!\\)\]\(javascript", outside_code)
    assert not set("\x00\x1b\u202e") & set(text)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, "no text makes a new cell"
    screen = Console(width=100, file=io.StringIO(), force_terminal=False)
    screen.print(console_table(report))
    assert "\x1b" not in screen.file.getvalue()  # type: ignore[attr-defined]


def test_a_users_own_task_and_models_are_shown_by_their_names(tmp_path: Path) -> None:
    content = {
        "results": {"checkpoint_9": {"tasks/count_birds.py": {"hits": 40.0, "misses": 3.0, "n": 10, "unparsed": 0}}},
        "baselines": {},
    }
    write_report(tmp_path, Report(title="Birds", payload=content))
    text = (tmp_path / "report.md").read_text()
    assert "**Measured:** Count birds hits 40.0" in text and "| Count birds | hits | – | 40.0 | – |" in text
    assert "## Training" not in text and "## Examples" not in text and not (tmp_path / "figures" / "reward_curves.png").exists()


def test_an_empty_report_is_still_a_report(tmp_path: Path) -> None:
    write_report(
        tmp_path / "new" / "folder",
        Report(title="Nothing yet", payload={"results": {}, "baselines": {}}, metrics=tmp_path / "missing.jsonl"),
    )
    assert Structure((tmp_path / "new" / "folder" / "report.html").read_text()).open == []


def test_numbers_that_are_none_are_dashes_and_json_stays_strict(tmp_path: Path) -> None:
    nan = float("nan")
    content = {
        "results": {
            "base": {"quality": {"accuracy": nan, "accuracy_ci95": [nan, nan], "n": 0, "unparsed": 0}},
            "rft": {"quality": {"accuracy": 50.0}},
        },
        "baselines": {},
    }
    write_report(tmp_path, Report(title="t", payload=content))
    assert json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)["results"]["base"]["quality"]["accuracy"] is None
    assert "| Quality | accuracy | – | – | 50.0 | – |" in (tmp_path / "report.md").read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EnvironmentFault, match="taken"):
        write_report(tmp_path / "taken", Report(title="t", payload={}))


def row(before: Any, after: Any, trivial: float | None = None) -> tables.Row:
    """A row of two figures, each (value, low, high)."""
    beside = {} if trivial is None else {"constant": tables.Cell(trivial)}
    return tables.Row("tracking", "AO", {"base": tables.Cell(*before), "sft": tables.Cell(99.0), "rft": tables.Cell(*after)}, beside)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((20, 15, 25), (40, 35, 45), "lifted"),
        ((20, 10, 30), (40, 29, 51), "kept"),
        ((40, 35, 45), (20, 15, 25), "fell"),
        ((40, 35, 45), (37, 32, 42), "unclear"),
        ((40, 35, 45), (39, 34, 44), "kept"),
        ((40, 40, 40), (40.5, 40.5, 40.5), "kept"),
        ((20,), (40,), "lifted"),
        ((None,), (40,), None),
    ],
    ids=[
        "apart",
        "higher but overlapping",
        "apart below",
        "lower but overlapping",
        "one point",
        "half a point without spread",
        "no intervals",
        "no figure before",
    ],
)
def test_verdicts_follow_the_intervals(before: Any, after: Any, expected: str | None) -> None:
    assert tables.verdict(row(before, after)) == expected


@pytest.mark.parametrize(("trivial", "expected"), [(34.9, True), (35.0, False), (60.0, False), (None, None)])
def test_a_figure_beats_the_trivial_answer_with_its_whole_interval(trivial: float | None, expected: bool | None) -> None:
    assert tables.beats_trivial(row((20, 15, 25), (40, 35, 45), trivial)) is expected


def test_headline_figures_come_first_and_in_order() -> None:
    table = tables.rows(payload()["results"], payload()["baselines"])
    assert [item.metric for item in table if item.task == "grounded_qa"] == ["Acc&GQA", "accuracy", "mIoU"]
    assert [(item.task, item.metric) for item in tables.headline_rows(table)][:3] == [
        ("temporal_grounding", "mIoU"),
        ("tracking", "AO"),
        ("video_qa", "accuracy"),
    ]
    assert {item.metric for item in table if item.task == "temporal_grounding"} == {"mIoU", "R@0.3", "R@0.5", "R@0.7"}


def test_levels_show_the_main_one_first_and_only_tasks_that_have_several() -> None:
    found = tables.level_rows(payload())
    assert [(level, item.task) for level, item in found][:4] == [
        (level, "temporal_grounding") for level in ("easy", "distractors", "several", "long")
    ]
    assert {item.task for _, item in found} == {"temporal_grounding", "tracking"}
    assert found[1][1].best_trivial == ("whole_video", tables.Cell(22.0))


def test_levels_say_what_they_are_how_many_samples_they_rest_on_and_who_was_not_asked() -> None:
    def asked(n: int) -> dict[str, Any]:
        return {"tracking": {"AO": 50.0, "n": n}, "video_qa": {"accuracy": 50.0, "n": n}}

    found = {
        "results": {"base": asked(64), "sft": asked(64), "rft": asked(64)},
        "level": "easy",
        "levels": {"several": {"base": asked(12), "rft": asked(12)}, "long": {"base": asked(12), "rft": asked(9)}},
        "level_words": {"easy": "one thing", "long": "16 s", "gone": "not shown"},
    }
    assert tables.level_notes(found) == [
        "easy: one thing; long: 16 s.",
        "Samples of a task behind each figure: easy 64, several 12, long 9 to 12.",
        "–: not asked there (SFT control at several, long).",
    ]
    assert tables.level_notes({"results": found["results"]}) == []


def test_what_an_answer_takes_stands_apart_with_its_unit(tmp_path: Path) -> None:
    figures_ = {"accuracy": 50.0, "n": 10, "unparsed": 2, "tokens": 6.0, "video_tokens": 128.0, "seconds": 0.0283, "unreadable_videos": 1}
    results = {"base": {"video_qa": figures_}, "rft": {"video_qa": figures_ | {"seconds": None}}}
    assert [item.metric for item in tables.rows(results, {})] == ["accuracy"]
    assert tables.cost_rows(results, "video_qa", ["base", "rft"]) == [
        ("tokens written, of an answer", ["6.0", "6.0"]),
        ("of these of the video", ["128.0", "128.0"]),
        ("seconds, of an answer", ["0.0283 s", "–"]),
        ("unreadable videos", ["1 of 10", "1 of 10"]),
        ("unreadable answers", ["2 of 10", "2 of 10"]),
    ]
    write_report(tmp_path, Report(title="t", payload={"results": results}))
    for name in ("report.md", "report.html"):
        page = (tmp_path / name).read_text()
        assert "0.0283 s" in page and "share of right choices" in page, name


def test_metrics_are_explained_once() -> None:
    table = [tables.Row("t", metric, {}, {}) for metric in ("R@0.3", "R@0.5", "SR0.5", "R_8@0.7", "own")]
    assert [name for name, _ in tables.metric_words(table)] == ["R@x", "SRx", "R_8@x"]


def test_trivial_answers_that_tie_are_all_the_best_and_a_choice_is_the_majoritys() -> None:
    trivial = {"whole_video": tables.Cell(10.9), "majority": tables.Cell(10.9), "constant": tables.Cell(3.0)}
    for metric, named in (("accuracy", "majority"), ("mIoU", "whole_video")):
        tied = tables.Row("grounded_qa", metric, {"base": tables.Cell(50.0)}, trivial)
        assert tied.best_trivial == (named, tables.Cell(10.9))
        assert [best for _, _, _, best in tables.bars_of(tied)] == [False, True, True, False]


def test_a_question_that_is_empty_leaves_no_empty_line_and_answers_are_printed(tmp_path: Path) -> None:
    sample = Sample(
        id="d", task="description", video="v", question="", truth=Answer(caption="A disc moves up.", events=("a disc moves up",))
    )
    example = Example(sample=sample, answers={"rft": answered("x", Answer(caption="A disc moves left."))}, clip=drawn_clip(0))
    write_report(tmp_path, Report(title="t", payload={}, examples=(example,)))
    page = (tmp_path / "report.html").read_text()
    assert 'class="question"' not in page and "\n> \n" not in (tmp_path / "report.md").read_text()
    assert "A disc moves left." in page.partition('class="said"')[2].partition("<details")[0]


def test_examples_are_chosen_by_rule_and_do_not_depend_on_order() -> None:
    def made(name: str, before: float, after: float) -> Example:
        sample = Sample(id=name, task="video_qa", video="v", question="q", truth=Answer(choice="A"))
        return Example(sample=sample, answers={"base": answered("", None, reward=before), "rft": answered("", None, reward=after)})

    five = [made("e", 0.5, 1.0), made("d", 0.0, 0.9), made("c", 0.2, 0.1), made("b", 0.6, 0.6), made("a", 1.0, 1.0)]
    for order in (five, five[::-1]):
        assert [(example.sample.id, example.why) for example in choose_examples(order, per_task=3)] == [
            ("d", "largest gain in reward"),
            ("c", "lowest reward after tuning"),
            ("a", "median reward after tuning"),
        ]
    assert [example.sample.id for example in choose_examples([made("only", 0, 1)], per_task=3)] == ["only"]
    ties = [made("z", 0.0, 1.0), made("y", 0.0, 1.0)]
    assert choose_examples(ties, per_task=1)[0].sample.id == "y"


@pytest.mark.parametrize(
    ("rewards", "chosen"),
    [
        ([(1.0, 1.0), (1.0, 1.0)], [("a", "no sample gained in reward; all earn the same")]),
        ([(1.0, 1.0), (1.0, 0.5)], [("b", "lowest reward after tuning; no sample gained in reward")]),
        ([(0.5, 1.0), (1.0, 1.0)], [("a", "largest gain in reward; all earn the same")]),
        ([(0.5, 1.0), (0.5, 0.9)], [("a", "largest gain in reward"), ("b", "lowest reward after tuning")]),
    ],
    ids=["all alike", "none gained", "all right in the end", "as usual"],
)
def test_headings_of_examples_are_true(rewards: list[tuple[float, float]], chosen: list[tuple[str, str]]) -> None:
    samples = [Sample(id=name, task="video_qa", video="v", question="q", truth=Answer(choice="A")) for name in "ab"]
    examples = [
        Example(sample=sample, answers={"base": answered("", None, accuracy=before), "rft": answered("", None, accuracy=after)})
        for sample, (before, after) in zip(samples, rewards, strict=True)
    ]
    found = choose_examples(examples)
    assert [(example.sample.id, example.why) for example in found] == chosen
    assert ("One alone" in chosen_text(found)) == (len(chosen) == 1)


def test_a_strip_pairs_each_box_with_the_frame_of_its_second() -> None:
    example = tracking_example(1)
    found = strip(example)
    assert found is not None and [frame.picture.time_s for frame in found.frames] == [float(second) for second in range(8)]
    assert found.frames[0].given and not found.frames[1].given
    for frame in found.frames:
        x0, y0, x1, y1 = frame.boxes["truth"]
        pixels_HWC = frame.picture.pixels_HWC
        middle = pixels_HWC[int((y0 + y1) / 2 * 64), int((x0 + x1) / 2 * 64)]
        assert tuple(middle) == (250, 200, 60), "the drawn disc lies in the middle of the true box of this very frame"
    perfect = replace(
        example, answers={"rft": answered("", Answer(boxes=example.sample.truth.boxes)), "base": answered("", None, "bad_list")}
    )
    marks = strip(perfect)
    assert marks is not None and marks.overlaps == {"rft": 1.0, "base": 0.0} and "base" not in marks.frames[1].boxes


def test_equal_boxes_are_all_to_be_seen(tmp_path: Path) -> None:
    """Base, control, tuned model and truth at one place: each leaves its colour in the picture and in the page's order of drawing."""
    from PIL import Image

    example = tracking_example(1)
    truth = Answer(boxes=example.sample.truth.boxes)
    same = replace(example, answers={model: answered("", truth) for model in ("base", "sft", "rft")})
    write_report(tmp_path, Report(title="t", payload={}, examples=(same,)))
    with Image.open(tmp_path / "figures/example_01.png") as picture:
        half = picture.convert("RGB").crop((280, 60, 1180, 200))  # frames where the box is not given
    colours = {colour: count for count, colour in half.getcolors(1 << 20)}
    for name in (legend.ON_FRAMES, *(legend.MODELS[model].colour for model in ("base", "sft", "rft"))):
        wanted = tuple(int(name[place : place + 2], 16) for place in (1, 3, 5))
        assert sum(count for colour, count in colours.items() if max(map(abs, map(int.__sub__, colour, wanted))) < 24) > 200, name
    page = (tmp_path / "report.html").read_text()
    frame = re.findall(r'class="(casing|box)[^"]*of-(\w+)"', page)[4 * 2 : 4 * 4]
    assert [kind for kind, _ in frame] == ["casing"] * 4 + ["box"] * 4 and [who for _, who in frame[4:]] == ["rft", "base", "sft", "truth"]


def test_a_strip_of_many_boxes_shows_first_and_last_and_scores_all() -> None:
    count = 31
    truth = tuple((0.1, 0.1, 0.3, 0.3 + 0.01 * index) for index in range(count))
    wrong_inside = tuple((0.8, 0.8, 0.9, 0.9) if index == 2 else box for index, box in enumerate(truth))
    sample = Sample(
        id="s", task="tracking", video="v", question="q", truth=Answer(boxes=truth, times_s=tuple(index / 4 for index in range(count)))
    )
    found = strip(Example(sample=sample, answers={"rft": answered("", Answer(boxes=wrong_inside))}, clip=drawn_clip(0)))
    assert found is not None and len(found.frames) == 8
    assert found.frames[-1].boxes["truth"] == truth[-1]
    assert found.overlaps["rft"] == pytest.approx(29 / 30)


@pytest.mark.parametrize(
    ("spans", "drawn", "overlap"),
    [(((2.0, 4.0),), ((2.0, 4.0),), 1.0), (((4.0, 2.0),), (), 0.0), (((-5.0, 1e300),), ((0.0, 8.0),), 0.0), ((), (), 0.0), (None, (), 0.0)],
    ids=["true", "reversed", "far past both ends", "none named", "unread"],
)
def test_spans_are_drawn_on_the_axis_and_scored_as_they_are(spans: Any, drawn: Any, overlap: float) -> None:
    sample = Sample(id="s", task="temporal_grounding", video="v", question="q", truth=Answer(spans=((2.0, 4.0),)))
    example = Example(sample=sample, answers={"rft": answered("", None if spans is None else Answer(spans=spans))}, clip=drawn_clip(0))
    found = timeline(example)
    assert found is not None and found.duration_s == duration_of(example) == 8.0
    assert found.spans["rft"] == drawn and found.overlaps["rft"] == pytest.approx(overlap)
    words = {((4.0, 2.0),): {"rft": "4.0–2.0 s: ends before it starts"}, (): {"rft": "no span read"}, None: {"rft": "no span read"}}
    assert found.empty == words.get(spans, {})


def test_an_example_without_a_clip_is_told_in_words(tmp_path: Path) -> None:
    chosen = tuple(replace(example, clip=None) for example in choose_examples(candidates()))
    write_report(tmp_path, trial_report(tmp_path, examples=chosen, metrics=None))
    assert not list((tmp_path / "figures").glob("example_*")) and "![Example" not in (tmp_path / "report.md").read_text()
    assert "the moving disc" in (tmp_path / "report.html").read_text()


def test_wide_frames_are_embedded_small_enough(tmp_path: Path) -> None:
    example = replace(tracking_example(1), clip=drawn_clip(1, shape=(360, 640)))
    write_report(tmp_path, Report(title="t", payload={}, examples=(example,)))
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 8 and len(page) < 600_000


def test_metrics_are_read_past_broken_lines_and_the_last_of_two_rows_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 2, "reward": 1}\n{"step": 1, "reward": 0.5, "kl": null, "x": true}\n[1]\n{"step": 2, "reward": 3, "y": 1e999}\n'
        + "[" * 100_000
        + '\n{"step": 3, "rew'
    )
    assert read_metrics(path) == [{"step": 1.0, "reward": 0.5}, {"step": 2.0, "reward": 3.0}]


@pytest.mark.parametrize(
    ("values", "last", "power"),
    [
        ((1.1e-6, 8.59e-7), "0.86", -6),
        ((0.1, 0.0766), "0.077", 0),
        ((3.0, 2.0), "2.00", 0),
        ((0.6, 0.457), "0.46", 0),
        ((0.0, -123456.0), "-1.23", 5),
        ((0.0,), "0.00", 0),
    ],
)
def test_a_curves_labels_have_fixed_decimals_and_stay_in_its_picture(values: tuple[float, ...], last: str, power: int) -> None:
    item = Series("k", "name", tuple(range(1, len(values) + 1)), values, values)
    drawn = charts.curve(item)
    assert (item.power, item.text(values[-1])) == (power, last)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn).group(1))  # type: ignore[union-attr]
    labels = re.findall(r'<text x="([-\d.]+)"[^>]*text-anchor="(\w+)"[^>]*>([^<]*)<', drawn)
    assert len(labels) > 5
    for at, anchor, text in labels:
        left = float(at) - {"start": 0.0, "end": 1.0}[anchor] * 6.6 * len(text)
        assert left >= 0.0 and left + 6.6 * len(text) <= width, text


def test_the_running_mean_is_worked_by_hand() -> None:
    assert smoothed([1, 2, 3], [4.0, 1.0, 1.0], half_life=1.0) == pytest.approx([4.0, (1 + 2) / 1.5, (1 + 0.5 + 1) / 1.75])
    assert smoothed([1, 3], [4.0, 0.0], half_life=1.0) == pytest.approx([4.0, 1.0 / 1.25]), "a gap of two steps fades twice"
    assert smoothed(range(50), [2.5] * 50, half_life=7.0) == pytest.approx([2.5] * 50)


def test_rewards_by_task_are_told_from_named_rewards_and_phases() -> None:
    rows = [{"step": 1.0, "reward": 1.0, "tracking/reward": 2.0, "rewards/reward": 0.5, "seconds/reward": 3.0, "seconds/step": 4.0}]
    assert [(item.key, item.name) for item in reward_series(rows)] == [("tracking/reward", "Tracking")]
    assert phase_seconds(rows) == {"reward": 3.0, "other": 1.0}


def test_the_console_table_fits_eighty_columns(tmp_path: Path) -> None:
    screen = Console(width=80, file=io.StringIO(), force_terminal=False)
    screen.print(console_table(trial_report(tmp_path)))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert re.search(r"Temporal grounding +31\.4 +29\.3 +55\.1 +91\.2 +\+61\.9", text)
    assert re.search(r"mIoU +whole video +26\.3–32\.3 +52\.1–58\.1 +88\.2–94\.2 +\(3\.1×\)", text)


def test_the_console_table_has_room_for_full_marks(tmp_path: Path) -> None:
    report = trial_report(tmp_path)
    for model in report.payload["results"].values():
        for of_task in model.values():
            for name in [name for name in of_task if f"{name}_ci95" in of_task]:
                of_task |= {name: 100.0, f"{name}_ci95": [100.0, 100.0]}
    screen = Console(width=80, file=io.StringIO(), force_terminal=False)
    screen.print(console_table(report))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "Change" in text and re.search(r"100\.0 +100\.0 +100\.0 +\+0\.0", text) and "100.0–100.0" in text


class Ticks:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_live_writes_few_plain_lines_where_there_is_no_terminal() -> None:
    stream, clock = io.StringIO(), Ticks()
    with Live(20, every_s=5.0, console=Console(file=stream, force_terminal=False, width=80), clock=clock) as live:
        for metrics in metrics_rows(20):
            clock.now += 1.5
            live.on_step(metrics)
    lines = stream.getvalue().splitlines()
    assert [re.match(r"Training (\d+)/20", line)[1] for line in lines] == ["1", "5", "9", "13", "17", "20"]  # type: ignore[index]
    assert "\x1b" not in stream.getvalue()
    assert re.search(r"reward 1\.\d{3}  format \d\.\d{3}  tiou \d\.\d{3}  box_iou \d\.\d{3}  .*Tracking 1\.\d{3}", lines[-1])
    assert re.search(r"40\.0 steps/min, 1,[78]\d\d tokens/s, 4 s left$", lines[4])
    assert lines[-1].endswith("0 s left")


def test_live_draws_in_place_on_a_terminal() -> None:
    stream, clock = io.StringIO(), Ticks()
    with Live(4, title="GRPO", console=Console(file=stream, force_terminal=True, width=100), clock=clock) as live:
        live.say("a line [red]of[/red] its own \x1b[2J")
        for metrics in metrics_rows(4):
            clock.now += 2.0
            live.on_step(metrics)
        assert live.seconds_per_step == pytest.approx(2.0) and live.seconds_left == 0.0
    drawn = stream.getvalue()
    assert "GRPO" in drawn and "4/4" in drawn and "30.0 steps/min" in drawn and "[red]of[/red]" in drawn and "\x1b[2J" not in drawn


def test_live_counts_time_left_from_the_steps_it_saw_itself() -> None:
    clock = Ticks()
    live = Live(100, console=Console(file=io.StringIO(), force_terminal=False), clock=clock)
    for step in (61, 62, 63):  # a run that goes on from step 60
        clock.now += 3.0
        live.on_step({"step": step, "reward": 1.0})
    assert live.seconds_left == pytest.approx(37 * 3.0)


@pytest.mark.parametrize("before", [0, 5], ids=["from the start", "gone on with"])
def test_live_tells_no_pace_before_something_was_counted(before: int) -> None:
    stream, clock = io.StringIO(), Ticks()
    live = Live(9, unit="samples", every_s=0.0, console=Console(file=stream, force_terminal=False, width=80), clock=clock)
    clock.now += 1e-5
    live.on_count(before)
    live.on_count(before + 1)  # at the same tick of the clock
    clock.now += 4.0
    live.on_count(before + 2)
    first, second, third = stream.getvalue().splitlines()
    assert first.split() == ["Training", f"{before}/9"] and second.split() == ["Training", f"{before + 1}/9"]
    assert third.endswith(f"  30.0 samples/min, {(7 - before) * 2} s left")


def test_live_leaves_loading_out_of_the_pace() -> None:
    clock = Ticks()
    live = Live(11, console=Console(file=io.StringIO(), force_terminal=False), clock=clock)
    clock.now += 60.0  # a model is loaded
    live.on_step({"step": 1, "seconds/step": 2.0})
    assert live.seconds_per_step == pytest.approx(2.0) and live.seconds_left == pytest.approx(20.0)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (185, "3:05 min"), (7800, "2:10 h"), (-3, "0 s")])
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


def told_by_a_fresh_process(code: str, *arguments: str) -> str:
    env = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_heavy_is_imported_before_a_report_is_written() -> None:
    code = (
        "import sys\nfrom videochat_r1.evaluation import live, markdown, page, plots, report\n"
        "print([name for name in ('torch', 'matplotlib', 'numpy', 'PIL', 'scipy', 'rich') if name in sys.modules])"
    )
    assert told_by_a_fresh_process(code) == "[]"


def test_writing_a_report_leaves_no_state_behind(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text(json.dumps(payload()))
    code = (
        "import json, sys, matplotlib\nfrom pathlib import Path\n"
        "from videochat_r1.evaluation import report\nfrom videochat_r1.evaluation.plots import STYLE\n"
        "before = {name: matplotlib.rcParams[name] for name in STYLE}\nfolder = Path(sys.argv[1])\n"
        "report.write_report(folder, report.Report(title='t', payload=json.loads((folder / 'payload.json').read_text())))\n"
        "print({name: matplotlib.rcParams[name] for name in STYLE} == before, 'matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    assert told_by_a_fresh_process(code, str(tmp_path)) == "True False False"


def test_the_four_colours_keep_apart_for_everybody() -> None:
    """CIE Lab distances under ordinary sight and the three colour blindnesses. Matrices: Machado et al. 2009, severity 1.0."""
    import numpy as np

    sights = {
        "ordinary": np.eye(3),
        "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
        "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
    }
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def linear(colour: str) -> Any:
        parts = np.array(struct.unpack("3B", bytes.fromhex(colour[1:]))) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)

    def lab(rgb: Any) -> Any:
        x, y, z = np.cbrt(np.clip(to_xyz @ rgb / np.array([0.9505, 1.0, 1.089]), 0.008856, None))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    colours = [linear(look.colour) for look in (legend.TRUTH, *legend.MODELS.values())]
    for sight, matrix in sights.items():
        seen = [lab(np.clip(matrix @ colour, 0, 1)) for colour in colours]
        nearest = min(float(np.linalg.norm(a - b)) for place, a in enumerate(seen) for b in seen[:place])
        assert nearest > 15, f"two colours are {nearest:.0f} apart in {sight} sight"
    for colour in colours:
        brightness = float(np.array([0.2126, 0.7152, 0.0722]) @ colour)
        assert 1.05 / (brightness + 0.05) >= 2.9 and (brightness + 0.05) / (0.0105 + 0.05) >= 2.9


def test_the_environment_names_versions_and_no_host() -> None:
    found = describe_environment()
    assert found["Python"].startswith("3.") and "torch" in found and "cores" in found["Processor"]
    assert os.uname().nodename not in " ".join(found.values())
