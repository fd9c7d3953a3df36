import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videochat_r1.rewards.boxes import is_box
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.world.questions import STILL, TASKS, box_times, fits, frame_lessons, place, sample, video_lessons, when_lesson
from videochat_r1.world.scenes import LEVELS, STEP_S, draw

scenes = st.builds(draw, st.sampled_from(LEVELS), st.just("asked"), st.integers(0, 10**6))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("thinking", [False, True])
def test_gold_answers_earn_full_marks(task, thinking):
    asking, rules = Asking(thinking=thinking, order="video_first"), load_task(task)
    for level in LEVELS:
        fitting = [scene for scene in (draw(level, "gold", number) for number in range(60)) if fits(task, scene)]
        assert len(fitting) > 10
        for scene in fitting:
            asked = sample(task, scene, "a.mp4")
            assert rules.ask(asked, asking)
            reading = rules.read(rules.write(asked.truth, asking), asked, asking)
            assert reading.format_ok and {name: reward(reading, asked, asking) for name, reward in rules.rewards.items()} == dict.fromkeys(
                rules.rewards, 1.0
            )


@settings(max_examples=150, deadline=None)
@given(scenes, st.sampled_from(["video_qa", "grounded_qa"]))
def test_a_question_with_options_has_one_right_answer(scene, task):
    asked = sample(task, scene, "a.mp4")
    letters, texts = zip(*(re.fullmatch(r"\(([A-E])\) (.+)", option).groups() for option in asked.options), strict=True)
    assert letters == tuple("ABCDE") and len(set(texts)) == 5
    right = dict(zip(letters, texts, strict=True))[asked.truth.choice]
    question = asked.question
    if way := re.fullmatch(r"which way does the (.+) move", question):
        answers = [thing.way for thing in scene.things if thing.name == way[1]]
        assert STILL in texts  # never right: everything moves
    elif colour := re.fullmatch(r"what colour is the (.+)", question):
        answers = [thing.colour for thing in scene.things if thing.shape == colour[1]]
    else:
        answers = [thing.shape for thing in scene.things if thing.colour == re.fullmatch(r"what shape is the (.+) thing", question)[1]]
    assert answers == [right]
    assert asked == sample(task, scene, "a.mp4")


@settings(max_examples=100, deadline=None)
@given(scenes)
def test_samples_say_what_the_scene_is(scene):
    target = scene.target
    for task in TASKS:
        asked = sample(task, scene, "v.mp4")
        assert (asked.video, asked.duration_s, asked.meta["level"]) == ("v.mp4", scene.duration_s, scene.level)
        if task in ("temporal_grounding", "grounded_qa"):
            assert asked.truth.spans == ((target.appears_s, target.leaves_s),)
        if task in ("temporal_grounding", "tracking"):
            assert [thing.name in asked.question for thing in scene.things].count(True) == 1 and target.name in asked.question
    tracked = sample("tracking", scene, "v.mp4").truth
    assert tracked.times_s == box_times(scene) and len(tracked.boxes) == 8
    for box, second in zip(tracked.boxes, tracked.times_s, strict=True):
        assert is_box(box) and box == pytest.approx(target.box(second, scene.duration_s), abs=0.00501)
    described = sample("description", scene, "v.mp4").truth
    assert sorted(described.events) == sorted(f"{thing.a_name} moves {thing.way}" for thing in scene.things)
    assert sample("quality", scene, "v.mp4").truth.label == ("low quality" if scene.poor else "high quality")
    assert fits("tracking", scene) == (target.span == (0.0, scene.duration_s)) != fits("temporal_grounding", scene)


@settings(max_examples=100, deadline=None)
@given(scenes, st.integers(0, 10**6))
def test_lessons_are_true(scene, seed):
    by_name = {thing.name: thing for thing in scene.things}
    second = random.Random(seed).randrange(int(scene.duration_s / STEP_S)) * STEP_S
    there = [thing for thing in scene.things if thing.visible(second)]
    lessons = frame_lessons(scene, second, random.Random(seed))
    answers = {lesson.kind: lesson.answer for lesson in lessons}
    assert answers["count"] == str(len(there))
    assert sorted(answers["name"].split(", ")) == (sorted(thing.a_name for thing in there) or ["nothing"])
    for lesson in lessons:
        if lesson.kind == "box" and there:
            thing = by_name[re.fullmatch(r"Where is the (.+)\?", lesson.question)[1]]
            assert lesson.answer == place(scene, thing, second) and thing in there
    told = {lesson.kind: lesson for lesson in (*video_lessons(scene, random.Random(seed)), when_lesson(scene))}
    thing = by_name[re.fullmatch(r"When does the (.+) appear\?", told["first"].question)[1]]
    assert (float(told["first"].answer), float(told["last"].answer)) == thing.span and told["way"].answer == thing.way
    assert told["when"].answer == "{:.2f} to {:.2f}".format(*scene.target.span)
    for moment in told["presence"].answer.split(", "):
        at, word = moment.split()
        assert thing.visible(float(at)) == (word == "yes")
    assert told["list"].answer == ", ".join(place(scene, thing, t) for t in box_times(scene))
    at = float(re.search(r"at ([\d.]+)\?", told["where"].question)[1])
    assert told["where"].answer == place(scene, thing, at) and told["seen"].answer == ("yes" if thing.visible(at) else "no")
    listed = re.findall(r"\(([A-E])\) ([^']+)'", told["letter"].question)
    asked = re.match(r"Which letter stands for (.+) in \[", told["letter"].question)[1]
    assert [letter for letter, text in listed if text == asked] == [told["letter"].answer[8]]
