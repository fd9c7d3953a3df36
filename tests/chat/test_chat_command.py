import io
import json
import sys

import pytest
from PIL import Image
from tests.chat.films import film
from tests.command_line import fault, ran, ran_json

from videochat_r1.chat.config import CluesConfig
from videochat_r1.chat.pictures import clock
from videochat_r1.commands.chat import TwoPass
from videochat_r1.small import SMALL_VIDEO

FLAGS = ["--video.min-pixels", 64, "--video.max-pixels", 256]  # one look at the film: 48 frames of 16 x 16, 96 video tokens


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films"), seconds=24)


@pytest.fixture
def script(monkeypatch):
    """Texts that the policy is made to write, in order; `texts` is filled by the test."""
    from tests.chat.films import Says

    texts = []
    monkeypatch.setattr("videochat_r1.rollout.base.make_engine", lambda name, policy: Says(policy, {"chat": texts}))
    return texts


def test_a_choice_with_its_clues_as_one_object(capsys, video, model, script):
    script += ["<think>it is late</think><answer>B</answer><glue>[(2, 3.5)]</glue>"] * 2
    found = ran_json(capsys, "chat", "--policy", model, video, "which way?", "--options", "left", "to the right", "--thinking", *FLAGS)
    assert found["choice"] == "B" and found["answer"] == "(B) to the right" and found["thought"] == "it is late"
    assert found["options"] == ["(A) left", "(B) to the right"] and found["readable"] and found["ended"] == ""
    assert found["clues"] == [{"start_s": 2.0, "end_s": 3.5, "words": "00:02.0 to 00:03.5"}]
    assert len(found["looks"]) == 2 and found["video_tokens"] == sum(look["video_tokens"] for look in found["looks"]) <= 96
    assert found["looks"][0]["windows"] == [] and found["looks"][1]["windows"][0]["start_s"] <= 2.0


def test_an_event_and_an_open_question_as_text(capsys, video, model, script):
    script += ["<answer>2.00 to 3.50</answer>"] * 2
    code, out, _ = ran(capsys, "chat", video, "the light goes on", "--when", "--policy", model, *FLAGS)
    assert code == 0 and out.startswith("00:02.0 to 00:03.5\nClues: 00:02.0 to 00:03.5\nLook 1: the whole video;")
    script[:] = ["<answer>a lamp</answer>"]
    code, out, _ = ran(capsys, "chat", video, "what is it?", "--policy", model, "--clues", "off", *FLAGS)
    assert code == 0 and out.startswith("a lamp\nLook 1: the whole video;") and "Look 2" not in out and "Thought" not in out


def test_what_was_looked_at_is_saved(capsys, video, model, script, tmp_path):
    script += ["<answer>2.00 to 3.50</answer>"] * 2
    found = ran_json(capsys, "chat", video, "it is red", "--when", "--policy", model, "--save", tmp_path / "seen", *FLAGS)
    for number, look in enumerate(found["looks"], start=1):
        names = sorted(path.name for path in (tmp_path / "seen" / f"look_{number}").iterdir())
        assert names == [f"{second:09.3f}s.png" for second in look["times_s"]]
        with Image.open(tmp_path / "seen" / f"look_{number}" / names[0]) as picture:
            assert picture.size == (look["width"], look["height"])
        with Image.open(tmp_path / "seen" / f"look_{number}.png") as sheet:
            assert sheet.width > 8 * look["width"]


def test_questions_from_a_terminal_decode_the_video_once(capsys, video, model, script, monkeypatch):
    script += [
        "<answer>2.00 to 3.50</answer>",
        "<answer>2.00 to 3.50</answer>",
        "<answer>B</answer><glue>[(2, 3.5)]</glue>",
        "<answer>B</answer>",
    ]
    typed = io.StringIO("the light goes on\nwhich way? | left | right\n\n")
    typed.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", typed)
    decoded = []
    monkeypatch.setattr("videochat_r1.chat.sight.decode", counting(decoded))
    code, out, err = ran(capsys, "chat", video, "--policy", model, "--when", *FLAGS)
    assert code == 0 and "Ask about" in err
    assert out.count("Look 2") == 2 and "(B) right" in out
    assert len(decoded) == len(set(decoded)) > 0


def counting(decoded):
    from videochat_r1.video.decode import decode

    def counted(info, plan, **options):
        decoded.extend((second, plan.height_px) for second in plan.times_s)
        return decode(info, plan, **options)

    return counted


def test_an_answer_that_cannot_be_read_is_shown_as_it_is(capsys, video, model, script):
    script += ["it is \x1b[31mhard to say"] * 2
    code, out, _ = ran(capsys, "chat", video, "the light goes on", "--when", "--policy", model, *FLAGS)
    assert code == 0 and "it is [31mhard to say (not an answer" in out and "\x1b" not in out
    found = ran_json(capsys, "chat", video, "the light goes on", "--when", "--policy", model, *FLAGS)
    assert not found["readable"] and found["answer"].startswith("it is") and found["ended"] == "no_clue" and found["clues"] == []


def test_the_small_model_is_shown_clips_as_it_was_taught(capsys, video):
    found = ran_json(capsys, "chat", "--policy", "small", video, "the red circle is visible", "--when")
    assert found["looks"][0]["width"] ** 2 == SMALL_VIDEO.max_pixels and found["video_tokens"] <= 24 * 16
    assert json.dumps(found)


@pytest.mark.parametrize(
    "code, tokens, words",
    [
        (3, ["{tmp}/none.mp4", "why?"], "No video at"),
        (3, ["{tmp}/broken.mp4", "why?"], "broken.mp4"),
        (2, ["{video}"], "no question"),
        (2, ["{video}", "   "], "no question"),
        (2, ["{video}", "why?", "--options", "only one"], "two answers"),
        (2, ["{video}", "why?", "--options", "a", "b", "--when"], "Give one of them"),
        (2, ["{video}", "why?", "--clues", "many"], "clues"),
        (2, ["{video}", "why?", "--rounds", "1"], "at least 2"),
        (4, ["{video}", "why?", "--save", "{tmp}/broken.mp4/x"], "Choose another folder with --save"),
        (2, ["{video}", "why?", "--rollout.max-tokens", "400000"], "rollout.max_tokens is 400,000"),
        (2, [], "VIDEO"),
    ],
    ids=[
        "no file",
        "a broken one",
        "no question",
        "a blank one",
        "one option",
        "both",
        "clues",
        "rounds",
        "no folder",
        "no room",
        "nothing",
    ],
)
def test_faults_take_two_lines(capsys, video, model, tmp_path, code, tokens, words):
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 64)
    given = [token.format(tmp=tmp_path, video=video) for token in tokens]
    assert words in fault(capsys, code, "chat", *given, "--policy", model, *FLAGS)


def test_a_model_that_is_not_there(capsys, video, tmp_path):
    fault(capsys, 2, "chat", video, "why?", "--policy", tmp_path / "none")


def test_clocks_and_defaults():
    assert [clock(second) for second in (0.0, 5.25, 59.96, 61.0, 3725.5)] == ["00:00.0", "00:05.2", "01:00.0", "01:01.0", "62:05.5"]
    assert TwoPass().clues == "two_pass" and CluesConfig().clues == "off"
    assert {name for name in TwoPass.model_fields} == {name for name in CluesConfig.model_fields}
