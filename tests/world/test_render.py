from dataclasses import replace

import pytest
import torch

from videochat_r1.world.render import FULL_SIDE_PX, pack, paint, render
from videochat_r1.world.scenes import COLOURS, SHAPES, Scene, Thing, draw

THING = Thing(
    shape="circle", colour="white", radius=0.13, growth=0.0, start=(0.3, 0.6), end=(0.7, 0.4), sway=0.0, appears_s=0.0, leaves_s=8.0
)
SCENE = Scene(id="one", level="easy", duration_s=8.0, ground=(20, 30, 40), poor=False, grain_seed=3, things=(THING,))


def painted(scene: Scene, times_s: list[float], side_px: int) -> torch.Tensor:
    """Without grain: (N, 3, side, side), as int."""
    return paint(pack([scene], [times_s]), side_px, torch.zeros(1, len(times_s), 1, side_px, side_px))[0].int()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side_px", [64, 96, 200])
def test_a_thing_fills_its_box_to_a_pixel_and_nothing_else(shape, side_px):
    scene = replace(SCENE, things=(replace(THING, shape=shape, growth=0.5),))
    ground = torch.tensor(scene.ground).reshape(3, 1, 1)
    times_s = [0.0, 1.3, 4.0, 7.9]
    for second, frame in zip(times_s, painted(scene, times_s, side_px), strict=True):
        changed = (frame != ground).any(0)
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        found = torch.tensor([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
        box = torch.tensor(scene.target.box(second, 8.0)) * side_px
        assert (found - box).abs().max() <= 1.0
        contrast = (torch.tensor(COLOURS["white"]).reshape(3, 1, 1) - ground).sum()
        cover = (frame - ground).sum() / contrast / (box[2] - box[0]) ** 2
        areas = {"circle": 0.785, "square": 1.0, "triangle": 0.5, "diamond": 0.5, "cross": 0.564}
        assert float(cover) == pytest.approx(areas[shape], abs=0.03)


def test_shapes_and_colours_are_told_apart():
    frames = {
        (shape, colour): painted(replace(SCENE, things=(replace(THING, shape=shape, colour=colour),)), [2.0], 64)
        for shape in SHAPES
        for colour in COLOURS
    }
    assert len({frame.numpy().tobytes() for frame in frames.values()}) == len(SHAPES) * len(COLOURS)


def test_a_thing_is_there_exactly_in_its_span():
    scene = replace(SCENE, things=(replace(THING, appears_s=2.0, leaves_s=3.5),))
    ground = torch.tensor(scene.ground).reshape(3, 1, 1)
    times_s = [k / 8 for k in range(64)]
    there = [bool((frame != ground).any()) for frame in painted(scene, times_s, 64)]
    assert there == [2.0 <= t < 3.5 for t in times_s]


@pytest.mark.parametrize("others", [1, 2])
def test_the_target_lies_over_all_others(others):
    larger = [replace(THING, colour=colour, shape="square", radius=0.2) for colour in ("red", "blue")][:others]
    scene = replace(SCENE, things=(THING, *larger))
    frame = painted(scene, [4.0], 96)[0]
    assert frame[:, 48, 48].tolist() == list(COLOURS["white"])
    assert frame[:, 48, 48 - 16].tolist() == list(COLOURS[larger[0].colour if others == 1 else "blue"])


def test_the_same_scene_gives_the_same_frames_alone_or_among_others():
    scene, other = draw("several", "paint", 1), draw("easy", "paint", 2)
    times_s = [k / 2 for k in range(16)]
    assert torch.equal(render(scene, times_s), render(scene, times_s))
    assert render(scene, times_s).shape == (16, 3, FULL_SIDE_PX, FULL_SIDE_PX) and render(scene, times_s).dtype == torch.uint8
    noise = torch.randn(2, 16, 1, 64, 64)
    together = paint(pack([scene, other], [times_s, times_s]), 64, noise)
    for index, one in enumerate((scene, other)):
        assert torch.equal(together[index], paint(pack([one], [times_s]), 64, noise[index : index + 1])[0])
    assert torch.equal(painted(scene, times_s[3:5], 64), painted(scene, times_s, 64)[3:5])


def test_a_poor_film_is_grainier_and_paler():
    clean, poor = (render(replace(SCENE, poor=poor), [0.0, 0.0], 64).float() for poor in (False, True))
    assert (poor[0] - poor[1]).std() > 5 * (clean[0] - clean[1]).std() > 0
    assert poor.mean((0, 2, 3)).std() < clean.mean((0, 2, 3)).std()
    assert poor.amax((1, 2, 3)).mean() < clean.amax((1, 2, 3)).mean()


def test_a_smaller_picture_is_a_scaled_one():
    scene = draw("easy", "scaled", 4)
    large, small = painted(scene, [3.0], 192), painted(scene, [3.0], 64)
    shrunk = torch.nn.functional.avg_pool2d(large.float(), 3)
    assert (shrunk - small).abs().mean() < 0.5
