import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests.policy.stock import shared, stock_inputs
from tests.tiny import FAMILIES, tiny_clip, tiny_policy, tiny_prompt, tiny_sample
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.policy.patches import frames_to_patches
from videochat_r1.policy.processing import Processing
from videochat_r1.policy.prompt import count_tokens, encode_text, pinned_for, prompt_ids, render, render_text
from videochat_r1.tasks.base import Asking, Task

QUESTIONS = [
    'To accurately pinpoint the event "a person sits." in the video.\n\nFor example: "12.54 to 17.83".',
    "Select the answer from :['(A) é', '(B) 猫 🐈'].\n",
    "  spaces before and after ",
]
ORDERS = ["text_first", "video_first"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("frames, fps", [(4, 2.0), (5, 3.0), (1, 2.0)], ids=["even", "odd, thirds of a second", "one frame"])
def test_a_prompt_is_what_the_stock_processor_makes(family, order, frames, fps):
    policy, clip = tiny_policy(family), tiny_clip(frames=frames, fps=fps)
    for question in QUESTIONS:
        prompt = tiny_prompt(policy, question, clip=clip, order=order)
        stock = stock_inputs(policy, question, clip, order)
        assert prompt.ids_P.tolist() == stock["input_ids"][0].tolist()
        assert list(prompt.grid_thw) == stock["video_grid_thw"][0].tolist()
        torch.testing.assert_close(prompt.patches, stock["pixel_values_videos"], rtol=0, atol=1e-6)
        assert prompt.text.count("<|video_pad|>") == 1 and question in prompt.text


@pytest.mark.parametrize(
    "video_processor", [Qwen2VLVideoProcessor(), Qwen3VLVideoProcessor(cap_pixels_per_frame=False)], ids=["14 px", "16 px"]
)
def test_patches_of_the_released_sizes_equal_the_stock_ones(video_processor):
    frames_NCHW = torch.randint(0, 256, (3, 3, 224, 448), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    stock = video_processor(videos=[frames_NCHW], do_resize=False, do_sample_frames=False, return_tensors="pt")
    patches, grid_thw = frames_to_patches(frames_NCHW, video_processor)
    torch.testing.assert_close(patches, stock["pixel_values_videos"], rtol=0, atol=1e-6)
    assert list(grid_thw) == stock["video_grid_thw"][0].tolist()


def test_patches_refuse_what_does_not_divide_into_tokens():
    video_processor = tiny_policy("qwen3_vl").processor.video_processor
    with pytest.raises(ValueError, match="41 x 24"):
        frames_to_patches(torch.zeros(2, 3, 24, 41, dtype=torch.uint8), video_processor)
    with pytest.raises(ValueError, match="uint8"):
        frames_to_patches(torch.zeros(2, 3, 24, 40), video_processor)


def released(family: str) -> Processing:
    """The released model's tokenizer in a stock processor; configuration and template are the family's."""
    if family == "qwen2_5_vl":
        folder, config = "tokenizers/qwen2_5", Qwen2_5_VLConfig()
        video, kind = Qwen2VLVideoProcessor(), Qwen2_5_VLProcessor
    else:
        folder, config = "tokenizers/qwen3", Qwen3VLConfig()
        video, kind = Qwen3VLVideoProcessor(cap_pixels_per_frame=False), Qwen3VLProcessor
    tokenizer = AutoTokenizer.from_pretrained(shared(folder))
    processing = Processing(hf_config=config, tokenizer=tokenizer, processor=None)
    processing.processor = kind(Qwen2VLImageProcessor(), tokenizer, video, chat_template=processing.family.chat_template)
    return processing


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_with_the_released_tokenizer_equal_the_stock_processors(family):
    processing = released(family)
    side = processing.geometry.factor * 2
    clip = tiny_clip(frames=6, height=side, width=side, fps=3.0)
    for order in ORDERS:
        for question in QUESTIONS:
            prompt = render_text(processing, question, clip, order=order, sample_id="x")
            assert prompt.ids_P.tolist() == stock_inputs(processing, question, clip, order)["input_ids"][0].tolist()
    assert processing.end_ids == (151645, 151643)
    assert {151652, 151653, 151655, 151656} <= set(processing.forbidden_ids)
    assert not {151645, 151643, 13, 15} & set(processing.forbidden_ids)


def test_a_walk_over_charades_writes_a_thousand_prompts_a_second():
    rows = json.loads(shared("annotations/charades_sta/train.json").read_text())
    sentences = [sentence for row in rows.values() for sentence in row["sentences"]][:2000]
    processing = released("qwen2_5_vl")
    times_s = tuple(k / 2 for k in range(60))
    started = time.process_time()
    for number, sentence in enumerate(sentences):
        ids = prompt_ids(
            processing, QUESTIONS[0].replace("a person sits.", sentence), (30, 22, 22), times_s, order="text_first", sample_id=str(number)
        )
    assert len(ids) > 30 * 11 * 11
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_counted_without_frames(family):
    policy, clip, sample, asking = tiny_policy(family), tiny_clip(frames=6), tiny_sample(), Asking(order="video_first")
    task = Task(ask=lambda sample, asking: f"Find {sample.question}.", read=None, write=None, rewards={}, metrics={})
    prompt = render(policy, task, sample, clip, asking)
    plan = SimpleNamespace(times_s=clip.times_s, grid_thw=prompt.grid_thw)
    assert count_tokens(policy, task, sample, plan, asking) == len(prompt)
    assert prompt.sample_id == sample.id and "Find it turns." in prompt.text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_never_cut(family):
    policy = tiny_policy(family)
    with pytest.raises(DataError, match=r"got/7: the prompt has \d+ tokens \(\d+ of video\), and the model takes 4096"):
        render_text(policy, "?", tiny_clip(frames=60, height=80, width=120), order="text_first", sample_id="got/7")


def test_a_question_cannot_bring_marks_of_its_own():
    policy = tiny_policy("qwen2_5_vl")
    for mark in ("<|video_pad|>", "<|im_end|>"):
        with pytest.raises(DataError, match="nextgqa/3"):
            tiny_prompt(policy, f"a {mark} b", sample_id="nextgqa/3")
    with pytest.raises(DataError, match="Unicode"):
        tiny_prompt(policy, "a \ud800 b")


def test_a_template_that_trims_the_question_is_refused():
    policy = tiny_policy("qwen2_5_vl")
    processor = policy.processor
    policy.processor = SimpleNamespace(
        apply_chat_template=lambda *args, **kwargs: "<|video_pad|> [the question]", video_processor=processor.video_processor
    )
    with pytest.raises(EnvironmentFault, match="template"):
        tiny_prompt(policy)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fps", [2.0, 1.0, 3.0, 2.5, 0.5, 4.0, 29.97 / 7, 1 / 3])
def test_positions_equal_the_stock_models(family, fps):
    policy, clip = tiny_policy(family), tiny_clip(frames=24, fps=fps)
    for order in ORDERS:
        prompt = tiny_prompt(policy, clip=clip, order=order)
        stock = stock_inputs(policy, 'When does "it turns" happen?', clip, order)
        seconds = {"second_per_grid_ts": stock["second_per_grid_ts"]} if "second_per_grid_ts" in stock else {}
        if seconds and float(seconds["second_per_grid_ts"]) % 1 and stock_rounds_seconds(policy):
            pytest.skip("this transformers rounds the seconds between patches down to whole ones")
        expected_3BP, _ = policy.base.model.get_rope_index(
            stock["input_ids"], mm_token_type_ids=stock["mm_token_type_ids"], video_grid_thw=stock["video_grid_thw"], **seconds
        )
        assert torch.equal(prompt.positions_3P, expected_3BP[:, 0])


def stock_rounds_seconds(policy) -> bool:
    """Whether the stock model, as in transformers 5.17, drops the part of the seconds between two patches that is below one."""
    positions_3BP, _ = policy.base.model.get_rope_index(
        torch.tensor([[policy.hf_config.video_token_id] * 2]),
        mm_token_type_ids=torch.tensor([[2, 2]]),
        video_grid_thw=torch.tensor([[2, 2, 2]]),
        second_per_grid_ts=torch.tensor([0.5]),
    )
    return int(positions_3BP[0, 0, 1]) == 0


def test_at_uneven_seconds_each_patch_stands_at_its_own():
    policy = tiny_policy("qwen2_5_vl")
    clip = replace(tiny_clip(frames=6, height=8, width=8), times_s=(3.0, 3.2, 4.0, 9.0, 13.0, 13.04))
    time_P = tiny_prompt(policy, clip=clip).positions_3P[0]
    is_video = tiny_prompt(policy, clip=clip).ids_P == policy.hf_config.video_token_id
    ticks = time_P[is_video] - time_P[is_video][0]
    assert ticks.tolist() == [0, 2, 20]  # 0 s, 1 s and 10 s after the first frame, at two ticks a second


def test_a_stamp_rounded_to_a_millisecond_keeps_its_tick():
    policy = tiny_policy("qwen2_5_vl")
    clip = tiny_clip(frames=24, fps=3.0)
    rounded = replace(clip, times_s=tuple(round(second, 3) for second in clip.times_s))
    assert torch.equal(tiny_prompt(policy, clip=rounded).positions_3P, tiny_prompt(policy, clip=clip).positions_3P)


def test_a_written_answer_is_a_completion_with_its_end():
    policy = tiny_policy("qwen3_vl")
    answer = encode_text(policy, "<answer>é 0.5 to 1.5</answer>")
    assert answer.ids_T[-1] == policy.end_ids[0] == policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert policy.tokenizer.decode(answer.ids_T[:-1]) == answer.text and len(answer.logprobs_T) == len(answer)


def test_patches_for_a_gpu_lie_in_pinned_memory(monkeypatch):
    prompt = tiny_prompt(tiny_policy("qwen2_5_vl"))
    assert pinned_for(torch.device("cpu"), prompt) is prompt
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)  # stands in for what needs a GPU
    pinned = pinned_for(torch.device("cuda"), prompt)
    torch.testing.assert_close(pinned.patches, prompt.patches + 1)
    assert pinned.ids_P is prompt.ids_P and pinned.clip is prompt.clip


def test_where_nothing_can_be_pinned_training_goes_on_and_says_so_once(monkeypatch, caplog):
    prompt = tiny_prompt(tiny_policy("qwen2_5_vl"))

    def refused(tensor):
        raise RuntimeError("CUDA error: out of memory\nmore of it")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refused)
    for _ in range(2):
        assert pinned_for(torch.device("cuda"), prompt) is prompt
    assert [record.getMessage().count("CUDA error: out of memory") for record in caplog.records] == [1]
