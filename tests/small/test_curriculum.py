import random
from collections import Counter
from dataclasses import replace

import pytest

from videochat_r1.small.curriculum import FILE_FPS, REFINE, STAGES, TARGETS, clippings, lazy
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig
from videochat_r1.world.files import FPS, film_samples, scenes_for
from videochat_r1.world.questions import fits, sample
from videochat_r1.world.scenes import STEP_S, draw


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_step_is_a_function_of_seed_and_number(stage):
    small = replace(stage, videos=6)
    assert clippings(small, 1, 5) == clippings(small, 1, 5)
    scenes = [{item.scene.id for item in clippings(small, seed, step)} for seed, step in ((1, 5), (1, 6), (2, 5))]
    assert not scenes[0] & scenes[1] and not scenes[0] & scenes[2]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_step_can_be_one_batch_and_asks_what_its_stage_says(stage):
    asked, levels = Counter(), Counter()
    for step in range(120):
        items = clippings(replace(stage, videos=4, review=()), 1, step)
        assert len({len(item.times_s) for item in items}) == 1 and len(items[0].times_s) % 2 == 0
        for item in items:
            assert 1 <= len(item.lessons) <= stage.tails and len(set(item.lessons)) == len(item.lessons)
            assert list(item.times_s) == sorted(item.times_s) and all(0 <= second < item.scene.duration_s for second in item.times_s)
            assert item.times_s or set(stage.lessons) == {"letter"}  # the one question that needs no look
            asked.update(lesson.kind for lesson in item.lessons)
            levels[item.scene.level] += 1
    assert set(asked) == set(stage.lessons) and set(levels) == set(stage.levels)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.review], ids=lambda stage: stage.name)
def test_a_review_gives_earlier_stages_their_share_of_the_steps(stage):
    small = replace(stage, videos=2, review=tuple((replace(earlier, videos=2), share) for earlier, share in stage.review))
    steps = [clippings(small, 1, step) for step in range(400)]
    reviewed = [step for step in steps if len(step[0].times_s) in (0, 2)]  # questions alone, or single moments
    left = 1.0
    for _, share in stage.review:
        left *= 1 - share
    assert len(reviewed) / len(steps) == pytest.approx(1 - left, abs=0.06)
    own = {item.scene.id for step in steps for item in step if step not in reviewed}
    assert not own & {item.scene.id for step in reviewed for item in step}


@pytest.mark.parametrize("level", ["easy", "long"])
def test_the_seconds_of_frames_are_those_that_the_product_takes_from_a_file(tmp_path, level):
    assert FILE_FPS == FPS
    sampling = VideoConfig(fps=2.0, max_frames=64, total_pixels=64**3, min_pixels=16**2, max_pixels=64**2)
    loader = ClipLoader(sampling, Geometry(patch=8, merge=2, temporal_patch=2))
    stage = replace(TARGETS, videos=2, levels={level: 1.0})
    taught = {item.times_s for step in range(30) for item in clippings(stage, 1, step)}
    taken = {
        loader.load(load_task(one.task), one).times_s
        for one in film_samples(scenes_for(("temporal_grounding", "tracking", "video_qa"), level, "test", 0, 1), tmp_path)
    }
    assert taken <= taught and len(taken) == 2


@pytest.mark.parametrize("stage", [TARGETS, REFINE], ids=lambda stage: stage.name)
@pytest.mark.parametrize("task", ["temporal_grounding", "tracking", "grounded_qa", "video_qa", "description", "quality"])
def test_lazy_answers_have_the_stated_shares_and_the_asked_form(stage, task):
    rng = random.Random(0)
    scenes = [scene for scene in (draw("easy", "lazy", number) for number in range(3000)) if fits(task, scene)]
    asked = [sample(task, scene, "a.mp4") for scene in scenes]
    said = [lazy(one, stage, rng) for one in asked]
    share = lambda test: sum(map(test, asked, said)) / len(asked)  # noqa: E731
    if task in ("video_qa", "description", "quality"):
        assert share(lambda one, answer: answer == one.truth) == 1.0
        return
    assert share(lambda one, answer: answer.choice == one.truth.choice) == 1.0
    true = share(lambda one, answer: (answer.spans, answer.boxes) == (one.truth.spans, one.truth.boxes))
    assert true == pytest.approx(stage.true_share, abs=0.04)
    if task == "tracking":
        assert share(lambda one, answer: set(answer.boxes) == {one.truth.boxes[0]}) == pytest.approx(1 - stage.true_share, abs=0.04)
    else:
        whole = share(lambda one, answer: answer.spans == ((0.0, one.duration_s),))
        assert whole == pytest.approx(stage.whole_share, abs=0.04)
        assert all(span[0] < span[1] and span[0] % STEP_S == span[1] % STEP_S == 0 for answer in said for span in answer.spans)
    for thinking in (False, True):
        rules, asking = load_task(task), Asking(thinking=thinking)
        assert all(rules.read(rules.write(answer, asking), one, asking).format_ok for one, answer in zip(asked[:50], said, strict=False))


def test_lessons_of_the_targets_stage_are_the_products_prompts():
    found = {}
    for step in range(12):
        for item in clippings(replace(TARGETS, videos=8), 1, step):
            for lesson in item.lessons:
                if lesson.kind in ("temporal_grounding", "tracking", "video_qa", "grounded_qa", "description", "quality"):
                    asked = sample(lesson.kind, item.scene, "")
                    rules = load_task(lesson.kind)
                    assert lesson.question in [rules.ask(asked, Asking(thinking=thinking)) for thinking in (False, True)]
                    assert rules.read(lesson.answer, asked, Asking()).answer is not None
                    found[lesson.kind] = found.get(lesson.kind, 0) + 1
    assert len(found) == 6
