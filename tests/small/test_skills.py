import json
import random
from dataclasses import replace

import pytest
from tests.small.parts import small_policy, small_tokenizer, tiny_small_model

from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small import skills
from videochat_r1.small.architecture import save_small_model
from videochat_r1.small.skills import SKILLS, Asked, figures, markdown
from videochat_r1.world.scenes import draw


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(skills, "GREEDY", skills.GREEDY.model_copy(update={"max_tokens": 4}))


@pytest.fixture(scope="module")
def asked():
    """What a policy of random weights writes; its truths serve all tests."""
    policy = small_policy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skills, "GREEDY", skills.GREEDY.model_copy(update={"max_tokens": 4}))
        found = skills.ask(policy, NativeEngine(policy), [draw("several", "skills-test", number, whole=False) for number in range(8)])
        assert policy.counters["vision_passes"] == 16  # a moment and a film of each scene, each read once for all its questions
    return found


def test_every_skill_is_asked_once_a_scene_where_it_can_be_seen(asked):
    assert {skill: sum(one.skill == skill for one in asked) for skill in SKILLS} == dict.fromkeys(SKILLS, 8)
    assert [one.truth for one in asked if one.skill == "seen"] == ["yes", "no"] * 4
    assert all(one.truth.startswith("[") for one in asked if one.skill in ("box", "where"))
    assert all(one.truth != "nothing" for one in asked if one.skill == "name")


def test_the_truth_scores_full_marks_and_noise_none(asked):
    for marks, text in ((1.0, lambda one: one.truth), (0.0, lambda one: f"? {random.random()}")):
        for skill, row in figures([replace(one, text=text(one)) for one in asked], resamples=50).items():
            for name, figure in row["figures"].items():
                full = (0.0 if marks else skills.UNREADABLE_S) if name == "mean error, s" else 100.0 * marks
                assert figure["policy"] == pytest.approx(full), (skill, name)
                assert not figure["better"] or (marks and figure["trivial"] != full)


def given(skill, *pairs):
    return [Asked(skill, str(number), "?", truth, text) for number, (truth, text) in enumerate(pairs)]


def test_figures_against_numbers_worked_by_hand():
    first = given("first", ("1.00", "1.50"), ("1.00", "4.00"), ("3.00", "3.00"), ("1.00", "soon"))
    found = figures(first, resamples=20)["first"]["figures"]
    assert found["mean error, s"]["policy"] == pytest.approx((0.5 + 3.0 + 0.0 + 16.0) / 4)
    assert (found["mean error, s"]["trivial"], found["mean error, s"]["trivial_answer"]) == (0.5, "1.00")
    assert (found["within 0.5 s"]["policy"], found["within 0.5 s"]["trivial"], found["exact"]["policy"]) == (50.0, 75.0, 25.0)
    presence = given("presence", ("0.00 no, 0.50 yes", "0.00 yes, 0.50 yes"), ("0.00 no, 0.50 no", "0.00 no"))
    found = figures(presence, resamples=20)["presence"]["figures"]["moments right"]
    assert (found["policy"], found["trivial"]) == (50.0, 75.0)
    box, half, far = "[0.00, 0.00, 0.50, 0.50]", "[0.00, 0.00, 0.50, 0.25]", "[0.60, 0.60, 0.90, 0.90]"
    listed = given("list", (f"{box}, none, {far}", f"{half}, {box}, none"), (f"none, {far}, none", f"none, {far}"))
    found = figures(listed, resamples=20)["list"]["figures"]
    assert found["mean box IoU"]["policy"] == pytest.approx(100 * 0.5 / 3)
    assert found["there or not"]["policy"] == pytest.approx(100 * 1 / 6)
    located = given("where", (box, box), (box, half), (far, "none"), (far, far + "."))
    where = figures(located, resamples=20)["where"]["figures"]["mean box IoU"]
    assert where["policy"] == pytest.approx(100 * 1.5 / 4) and where["trivial"] == 50.0
    when = figures(given("when", ("1.00 to 3.00", "2.00 to 3.00"), ("1.00 to 3.00", "3.00 to 1.00")), resamples=20)["when"]["figures"]
    assert (when["mean tIoU"]["policy"], when["mean tIoU"]["trivial"]) == (25.0, 100.0)


def test_better_means_more_than_chance():
    truths = ["left", "right", "up", "down"] * 25
    sure = figures(given("way", *((truth, truth if n % 2 else "up") for n, truth in enumerate(truths))))["way"]["figures"]["exact"]
    guessed = figures(given("way", *((truth, truths[n // 4]) for n, truth in enumerate(truths))))["way"]["figures"]["exact"]
    assert sure["better"] and not guessed["better"] and sure["trivial"] == guessed["trivial"] == 25.0
    assert sure["policy_ci95"][0] < sure["policy"] < sure["policy_ci95"][1]


def test_the_command_writes_its_tables(tmp_path, capsys):
    save_small_model(tmp_path / "model", tiny_small_model(), small_tokenizer())
    paths = [str(tmp_path / "a.json"), str(tmp_path / "a.md")]
    skills.main(["--policy", str(tmp_path / "model"), "--scenes", "2", "--levels", "easy", "--out", paths[0], "--markdown", paths[1]])
    report = json.loads((tmp_path / "a.json").read_text())
    assert set(report["levels"]["easy"]) == set(SKILLS) and report["series"] == "skills-0"
    table = (tmp_path / "a.md").read_text()
    assert table.strip() == capsys.readouterr().out.strip() == markdown(report["levels"]["easy"], "easy scenes").strip()
    assert table.count("\n| way |") == 1
