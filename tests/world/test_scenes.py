from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videochat_r1.world.scenes import COLOURS, LEVELS, SHAPES, STEP_S, WAYS, draw

series = st.sampled_from(["train-0", "test-0", "x"])
scenes = st.builds(draw, st.sampled_from(LEVELS), series, st.integers(0, 10**6), whole=st.sampled_from([None, True, False]))


@settings(max_examples=300, deadline=None)
@given(scenes)
def test_truth_is_exact_whatever_is_drawn(scene):
    for thing in scene.things:
        start, end = thing.span
        assert start % STEP_S == 0 and end % STEP_S == 0 and 0 <= start < end <= scene.duration_s
        assert end - start >= 1.0
        grid = [k * STEP_S / 2 for k in range(int(scene.duration_s * 4))]
        assert [t for t in grid if thing.visible(t)] == [t for t in grid if start <= t < end]
        for second in (0.0, start, (start + end) / 2, end, scene.duration_s):
            x0, y0, x1, y1 = thing.box(second, scene.duration_s)
            assert 0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0
            assert x1 - x0 == pytest.approx(y1 - y0) and 0.11 < x1 - x0 < 0.49
        assert thing.shape in SHAPES and thing.colour in COLOURS and thing.way in WAYS


@settings(max_examples=200, deadline=None)
@given(scenes)
def test_what_is_seen_of_a_path_goes_the_way_of_the_whole(scene):
    for thing in scene.things:
        first, last = (thing.box(t, scene.duration_s) for t in (thing.appears_s, thing.leaves_s - STEP_S))
        dx, dy = (first[0] + first[2] - last[0] - last[2]) / -2, (first[1] + first[3] - last[1] - last[3]) / -2
        shift = {"right": dx, "left": -dx, "down": dy, "up": -dy}
        assert max(shift, key=shift.get) == thing.way and shift[thing.way] > 0.029


@settings(max_examples=200, deadline=None)
@given(scenes)
def test_levels_are_as_documented(scene):
    target, others = scene.target, scene.things[1:]
    assert scene.duration_s == (16.0 if scene.level == "long" else 8.0)
    assert len(scene.things) in {"easy": (1,), "several": (2, 3), "alike": (2, 3), "long": (1, 2)}[scene.level]
    assert len({thing.name for thing in scene.things}) == len(scene.things)
    if scene.level == "alike":
        assert all(other.colour == target.colour or other.shape == target.shape for other in others)
    whole = target.span == (0.0, scene.duration_s)
    assert {"whole": whole, "part": not whole}.get(scene.id.rsplit("-", 1)[-1], True)


def test_the_same_numbers_give_the_same_scene_and_others_another():
    assert draw("alike", "train-0", 7) == draw("alike", "train-0", 7)
    numbers = product(LEVELS, ("train-0", "test-0", "train-1"), range(40), (None, True, False))
    drawn = [draw(level, name, number, whole=whole) for level, name, number, whole in numbers]
    assert len({scene.id for scene in drawn}) == len(drawn)
    by_look = {scene.id.removesuffix("-whole").removesuffix("-part"): repr((scene.things, scene.ground)) for scene in drawn}
    assert len(set(by_look.values())) == len(by_look)


def test_every_look_way_and_quality_comes_up_about_as_often():
    drawn = [draw("easy", "counts", number) for number in range(2000)]
    for values, known in ((lambda s: s.target.shape, SHAPES), (lambda s: s.target.colour, COLOURS), (lambda s: s.target.way, WAYS)):
        counts = [sum(values(scene) == name for scene in drawn) for name in known]
        assert min(counts) > 0.75 * 2000 / len(known)
    assert 0.25 < sum(scene.poor for scene in drawn) / 2000 < 0.35
    assert 0.35 < sum(scene.target.span == (0.0, 8.0) for scene in drawn) / 2000 < 0.45
