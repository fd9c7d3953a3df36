import pytest
import torch
from tests.policy.stock import stock_inputs
from tests.small.parts import clip_of, small_tokenizer, tiny_small_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.model import PolicyConfig, load_policy
from videochat_r1.policy.prompt import encode_text, render_text
from videochat_r1.small.architecture import KINDS, save_small_model, small_config, small_model
from videochat_r1.world.scenes import draw

TIMES_S = tuple(k / 2 for k in range(16))
CLASSES = {
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor"),
}
QUESTION = "Where is the red circle at 2.50?"


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("small")
    save_small_model(folder, tiny_small_model(kind=kind), small_tokenizer(kind))
    return folder


def test_auto_classes_alone_load_a_saved_folder(folder, kind):
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert (type(model).__name__, type(processor).__name__) == CLASSES[kind]
    for name, weight in tiny_small_model(kind=kind).state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert processor.tokenizer.get_vocab() == small_tokenizer().get_vocab()
    clip = clip_of(draw("easy", "arch", 0), TIMES_S)
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    metadata = {"fps": 2.0, "total_num_frames": 16, "frames_indices": list(range(16))}
    inputs = processor(text=[text], videos=[clip.frames_NCHW], do_sample_frames=False, video_metadata=[metadata], return_tensors="pt")
    assert inputs["video_grid_thw"].tolist() == [[8, 8, 8]]  # 64-pixel frames are taken as they are
    written = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert written.shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize("order", ["video_first", "text_first"])
def test_prompts_equal_the_stock_processors(folder, kind, order):
    policy = load_policy(PolicyConfig(path=str(folder), device="cpu"), keep_reference=False)
    clip = clip_of(draw("several", "arch", 1), TIMES_S)
    prompt = render_text(policy, QUESTION, clip, order=order, sample_id="x")
    stock = stock_inputs(policy, QUESTION, clip, order)
    assert prompt.ids_P.tolist() == stock["input_ids"][0].tolist()
    assert torch.equal(prompt.patches, stock["pixel_values_videos"]) and [list(prompt.grid_thw)] == stock["video_grid_thw"].tolist()
    marks = [policy.tokenizer.convert_ids_to_tokens(int(token)) for token in prompt.ids_P]
    assert (
        marks.count("<|vision_start|>") == marks.count("<|vision_end|>") == {"qwen3_vl": 8, "qwen2_5_vl": 1}[kind]
    )  # a moment, or the whole
    scores = logprobs(policy, prompt, [encode_text(policy, "none")]).logprobs[0]
    output = policy.base(
        input_ids=torch.cat([stock["input_ids"], torch.tensor([encode_text(policy, "none").ids_T.tolist()])], 1),
        pixel_values_videos=stock["pixel_values_videos"],
        video_grid_thw=stock["video_grid_thw"],
        mm_token_type_ids=torch.cat([stock["mm_token_type_ids"], torch.zeros(1, len(scores), dtype=torch.int64)], 1),
    )
    expected = output.logits[0, -len(scores) - 1 : -1].log_softmax(-1)[range(len(scores)), encode_text(policy, "none").ids_T]
    assert scores.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_real_ones_size_is_as_stated(kind):
    model = small_model(small_config(small_tokenizer(kind), kind=kind))
    assert 1.0e6 < sum(weight.numel() for weight in model.parameters()) < 2.0e6
    assert model.config.get_text_config().vocab_size == len(small_tokenizer())
