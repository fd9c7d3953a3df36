import json

import pytest
from tests.chat.films import GREEDY, VIDEO, Says, choice, film, grounding, sight_of
from tests.command_line import fault, ran_json, saved_tiny_model

from videochat_r1.chat.answerer import WithClues
from videochat_r1.chat.config import CluesConfig
from videochat_r1.evaluation.evaluate import answer, results
from videochat_r1.tasks.base import Asking
from videochat_r1.video.clips import ClipLoader

A1, A2 = "<answer>20.00 to 25.00</answer>", "<answer>21.00 to 24.00</answer>"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films"))


def test_a_data_set_is_answered_with_clues_and_says_what_it_cost(video, tmp_path):
    policy = sight_of().policy
    loader = ClipLoader(VIDEO, policy.geometry)
    engine = Says(policy, {"film/0": [A1, A2], "film/1": ["<answer>A</answer><glue>[(20, 25)]</glue>", "<answer>B</answer>"]})
    answerer = WithClues(policy, engine, loader, Asking(), GREEDY, CluesConfig(clues="two_pass", gate="last"))
    samples = [grounding(video), choice(video), grounding(str(tmp_path / "none.mp4"), "film/2")]
    found = answer(policy, engine, answerer.loader, samples, Asking(), GREEDY, answerer=answerer)
    assert [one.text for one in found] == [A2, "<answer>B</answer>", ""] and found[2].reading.reason == "video:missing"
    assert found[0].more["looks"] == 2 and found[0].more["texts"] == [A1, A2] and found[0].more["video_tokens"] <= 120
    assert found[0].tokens == sum(len(engine.policy.tokenizer.encode(text)) + 1 for text in (A1, A2))
    figures = results(found, resamples=0)
    assert figures["video_qa"]["looks"] == 2 and figures["video_qa"]["accuracy"] == 100 and figures["video_qa"]["seconds"] > 0
    assert len(loader.quarantine) == 1
    decoded = answerer.sight.counters["frames_decoded"]
    assert decoded == len({second for prompt in engine.prompts for second in prompt.clip.times_s})  # the first look's, decoded ahead, too


def test_evaluate_compares_clues_with_one_look(capsys, video, tmp_path):
    model = saved_tiny_model(tmp_path / "model")
    sample = grounding(video)
    row = {"id": sample.id, "task": sample.task, "video": video, "question": sample.question, "answer": {"spans": [[20.0, 25.0]]}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    given = ["--policy", model, "--dataset", "jsonl", "--annotations", tmp_path / "rows.jsonl", "--rollout.max-tokens", 4, "--resamples", 0]
    given += ["--video.min-pixels", 64, "--video.max-pixels", 256, "--out", tmp_path / "out", "--no-report"]
    found = ran_json(capsys, "evaluate", *given, "--clues", "rounds", "--rounds", 2, "--without-clue", "again")
    assert found["looks"] == 2 and found["video_tokens"] <= found["base"]["video_tokens"] and "looks" not in found["base"]
    assert found["prompt_tokens"] > 0 and found["compared"]["metrics"]["mIoU"]["difference"] == found["mIoU"] - found["base"]["mIoU"]
    assert json.loads((tmp_path / "out" / "figures.json").read_text())["options"]["looks"]["clues"] == "rounds"
    again = ran_json(capsys, "evaluate", *given, "--clues", "rounds", "--rounds", 2, "--without-clue", "again")
    assert again["looks"] == 2 and again["mIoU"] == found["mIoU"]
    assert "looks.clues: 'rounds' -> 'off'" in fault(capsys, 2, "evaluate", *given)
    given[given.index("--out") + 1] = tmp_path / "one look"
    assert "looks" not in ran_json(capsys, "evaluate", *given)
