"""Sizes and resizing against qwen-vl-utils and torchvision."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qwen_vl_utils.vision_process import smart_resize
from tests.video.films import resized

from videochat_r1.errors import VideoError
from videochat_r1.video.resize import Geometry, resize_frame, target_size

sides = st.integers(1, 5000)


@settings(max_examples=300, deadline=None)
@given(height=sides, width=sides, factor=st.sampled_from([28, 32]), max_tokens=st.integers(17, 1000))
def test_target_size_is_smart_resize(height, width, factor, max_tokens):
    bounds = {"min_pixels": 16 * factor**2, "max_pixels": max_tokens * factor**2 + 0.5}
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(VideoError) as caught:
            target_size(height, width, factor=factor, **bounds)
        assert caught.value.reason == "bad_aspect"
        return
    expected = smart_resize(height, width, factor, **bounds)
    assert target_size(height, width, factor=factor, **bounds) == tuple(max(side, factor) for side in expected)


@settings(max_examples=200, deadline=None)
@given(height=sides, width=sides, factor=st.sampled_from([4, 8, 16, 28, 32]), least=st.integers(1, 16), most=st.integers(64, 768))
def test_sides_are_whole_tokens_within_the_budget(height, width, factor, least, most):
    assume(max(height, width) <= 16 * min(height, width))  # a thinner picture is one token across, beyond the budget if need be
    high, wide = (
        side // factor for side in target_size(height, width, factor=factor, min_pixels=least * factor**2, max_pixels=most * factor**2)
    )
    assert least <= high * wide <= most
    assert {side % factor for side in target_size(height, width, factor=factor, min_pixels=1, max_pixels=most * factor**2)} == {0}


@pytest.mark.parametrize("size", [(64, 96), (100, 60), (33, 47)], ids=["same", "smaller", "larger"])
def test_resizing_is_torchvisions_bicubic_bit_for_bit(size):
    picture = torch.randint(0, 256, (65, 97, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).permute(2, 0, 1)
    assert torch.equal(resize_frame(picture, *size), resized(picture, *size))
    assert resize_frame(picture, 65, 97) is picture


def test_a_large_picture_resized_by_channel_is_the_same():
    picture = torch.randint(0, 256, (3, 1100, 1400), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert picture.numel() > 2**22
    assert torch.equal(resize_frame(picture, 224, 280), resized(picture, 224, 280))


def test_grid_and_tokens_count_patches_and_merged_patches():
    geometry = Geometry(patch=14, merge=2, temporal_patch=2)
    assert geometry.factor == 28
    assert geometry.grid(56, 224, 448) == (28, 16, 32)  # 56 frames that fill the paper's budget
    assert geometry.tokens((28, 16, 32)) == 3584
