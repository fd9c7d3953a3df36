import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import FAMILIES, tiny_clip, tiny_completion, tiny_policy, tiny_prompt

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.model import Policy, PolicyConfig, _peft_among_its_versions, load_policy
from videochat_r1.policy.processing import load_processing, model_folder, nearest_model
from videochat_r1.policy.prompt import prompt_ids
from videochat_r1.section import Section
from videochat_r1.small import SMALL_MODEL


def scores(policy) -> torch.Tensor:
    with torch.no_grad():
        return logprobs(policy, tiny_prompt(policy), [tiny_completion(policy)]).logprobs[0]


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def local(folder: Path, **fields) -> PolicyConfig:
    return PolicyConfig(path=str(folder), device="cpu", **fields)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_of_an_adapter_is_the_base_exactly(family):
    base, adapted = tiny_policy(family), tiny_policy(family, lora_rank=4)
    assert not torch.equal(scores(adapted), scores(base))
    with adapted.reference():
        assert torch.equal(scores(adapted), scores(base))
    assert set(adapted.parameters()) == {name for name in weights(adapted) if "lora_" in name and "language_model" in name}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_adapter_scores_the_same_and_leaves_no_trace(family):
    policy = tiny_policy(family, lora_rank=4)
    before, plain = weights(policy), scores(policy)
    with policy.merged(), policy.merged():
        torch.testing.assert_close(scores(policy), plain, rtol=0, atol=1e-5)
        assert policy.base.model.language_model.layers[0].self_attn.q_proj.merged
        with pytest.raises(RuntimeError), policy.reference():
            pass
    assert_same(before, weights(policy))
    assert torch.equal(scores(policy), plain)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}], ids=str)
def test_an_adapter_that_is_not_plain_is_merged_in_place_and_leaves_no_trace(settings):
    """DoRA makes new weights of the old ones; a bias of the adapter's own goes into the base's."""
    from peft import LoraConfig, get_peft_model

    stock = tiny_policy("qwen2_5_vl")
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model\.layers\.\d+\.self_attn\.[qk]_proj", **settings)
    with _peft_among_its_versions():
        model = get_peft_model(stock.base, lora)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    policy = Policy(model, stock, PolicyConfig(lora_rank=4, device="cpu"))
    before, plain = weights(policy), scores(policy)
    places = [weight.data_ptr() for weight in policy.base.parameters()]
    for _ in range(2):
        with policy.merged():
            torch.testing.assert_close(scores(policy), plain, rtol=0, atol=1e-5)
            assert [weight.data_ptr() for weight in policy.base.parameters()] == places
        assert_same(before, weights(policy))
    assert [weight.data_ptr() for weight in policy.base.parameters()] == places
    assert torch.equal(scores(policy), plain)


def test_weights_come_back_when_a_rollout_fails():
    policy = tiny_policy("qwen2_5_vl", lora_rank=4)
    before = weights(policy)
    with pytest.raises(KeyboardInterrupt), policy.merged():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), policy.reference():
        raise KeyboardInterrupt
    assert_same(before, weights(policy))
    with policy.reference():
        pass


@pytest.mark.parametrize("train_vision", [False, True], ids=["tower frozen", "tower trained"])
def test_the_reference_of_full_training_stays_where_it_was(train_vision):
    policy = tiny_policy("qwen2_5_vl", train_vision=train_vision)
    plain = scores(policy)
    assert any("visual" in name for name in policy.parameters()) == train_vision == policy.trains_vision
    assert "lm_head.weight" not in policy.parameters()  # tied to the embedding, which is there
    with torch.no_grad():
        for weight in policy.parameters().values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    moved = weights(policy)
    assert not torch.equal(scores(policy), plain)
    with policy.reference():
        assert torch.equal(scores(policy), plain)
    assert_same(moved, weights(policy))


def test_gradients_are_the_policys_after_the_reference_was_asked_in_between():
    policy = tiny_policy("qwen2_5_vl")
    prompt, completions = tiny_prompt(policy), [tiny_completion(policy)]
    grads = []
    for ask in (False, True):
        with torch.no_grad():
            for weight in policy.parameters().values():
                weight.add_(0.01)
        loss = logprobs(policy, prompt, completions).logprobs[0].sum()
        if ask:
            with policy.reference(), torch.no_grad():
                logprobs(policy, prompt, completions)
        policy.model.zero_grad()
        loss.backward()
        grads.append([weight.grad.clone() for weight in policy.parameters().values() if weight.grad is not None])
        with torch.no_grad():
            for weight in policy.parameters().values():
                weight.sub_(0.01)
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_policy_without_a_reference_says_so():
    with pytest.raises(UsageError, match="without a reference"), tiny_policy("qwen3_vl", keep_reference=False).reference():
        pass


def test_vision_carries_a_graph_only_where_the_tower_is_trained():
    for train_vision in (False, True):
        policy = tiny_policy("qwen3_vl", train_vision=train_vision)
        prompt = tiny_prompt(policy)
        [features] = policy.vision([prompt])
        assert features.embeds_VD.requires_grad == features.deepstack_VD[0].requires_grad == train_vision
        with torch.no_grad():
            assert not policy.vision([prompt])[0].embeds_VD.requires_grad
        assert policy.vision([]) == [] and policy.counters["vision_passes"] == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora_rank, train_vision", [(0, True), (4, False), (4, True)], ids=["full", "LoRA", "LoRA in the tower too"])
def test_checkpointing_gives_the_same_gradients(family, lora_rank, train_vision):
    grads = []
    for checkpointing in (False, True):
        policy = tiny_policy(family, lora_rank=lora_rank, train_vision=train_vision, gradient_checkpointing=checkpointing)
        layer = policy.base.model.language_model.layers[1].mlp
        calls = []
        layer.register_forward_pre_hook(lambda *args, calls=calls: calls.append(1))
        scores(policy)
        assert len(calls) == 1
        logprobs(policy, tiny_prompt(policy), [tiny_completion(policy)]).logprobs[0].sum().backward()
        assert len(calls) == (3 if checkpointing else 2)  # computed again in the backward pass
        grads.append({name: weight.grad for name, weight in policy.parameters().items()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-5, atol=1e-6)
        assert "lora_A" in name or grad is not None


def test_a_rollout_keeps_its_cache_under_checkpointing():
    policy = tiny_policy("qwen2_5_vl", gradient_checkpointing=True)
    prompt = tiny_prompt(policy)
    given = {"input_ids": prompt.ids_P[None], "pixel_values_videos": prompt.patches, "video_grid_thw": torch.tensor([prompt.grid_thw])}
    with torch.no_grad():
        cache = policy.base(**given, position_ids=prompt.positions_3P[:, None], use_cache=True).past_key_values
    assert cache.get_seq_length() == len(prompt)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_policy_is_a_stock_folder_and_loads_the_same(family, tmp_path):
    policy = tiny_policy(family)
    policy.save(tmp_path / "policy")
    again = load_policy(local(tmp_path / "policy"), keep_reference=False)
    assert_same(weights(policy), weights(again))
    assert torch.equal(scores(policy), scores(again))
    assert again.end_ids == policy.end_ids and again.forbidden_ids == policy.forbidden_ids and again.geometry == policy.geometry
    assert tiny_prompt(again).ids_P.tolist() == tiny_prompt(policy).ids_P.tolist()
    assert not [path.name for path in (tmp_path / "policy").iterdir() if path.suffix not in {".json", ".safetensors", ".jinja"}]
    assert "windows_like_flash" not in (tmp_path / "policy/config.json").read_text()


def test_a_saved_policy_opens_without_this_package(tmp_path):
    tiny_policy("qwen3_vl").save(tmp_path)
    script = (
        "import sys, torch; sys.modules['videochat_r1'] = None\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "model, processor = AutoModelForImageTextToText.from_pretrained(sys.argv[1]), AutoProcessor.from_pretrained(sys.argv[1])\n"
        "ids = processor.tokenizer('hello', return_tensors='pt').input_ids\n"
        "print(type(model).__name__, type(processor).__name__, model(input_ids=ids).logits.isfinite().all().item())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.stdout.split() == ["Qwen3VLForConditionalGeneration", "Qwen3VLProcessor", "True"], done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_loaded_by_its_path(family, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("local files are looked for on the network"))
    tiny_policy(family).save(tmp_path / "base")
    policy = load_policy(local(tmp_path / "base", lora_rank=4, lora_targets=("q_proj", "down_proj")), keep_reference=True)
    assert torch.equal(scores(policy), scores(tiny_policy(family)))  # a fresh adapter changes nothing
    with torch.no_grad():
        for weight in policy.parameters().values():
            weight.add_(0.02)
    policy.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter/model.safetensors").exists()

    merged = load_policy(local(tmp_path / "adapter"), keep_reference=False)
    assert not merged.adapted
    torch.testing.assert_close(scores(merged), scores(policy), rtol=0, atol=1e-5)

    trained_on = load_policy(local(tmp_path / "adapter", lora_rank=4), keep_reference=True)
    assert trained_on.parameters().keys() == policy.parameters().keys()
    start = scores(trained_on)
    assert torch.equal(start, scores(policy))
    with torch.no_grad():
        for weight in trained_on.parameters().values():
            weight.add_(0.02)
    with trained_on.reference():
        assert torch.equal(scores(trained_on), start)  # where this training began, not the base

    with pytest.raises(UsageError, match="has rank 4"):
        load_policy(local(tmp_path / "adapter", lora_rank=8), keep_reference=False)
    for name, content in [
        ("adapter_model.safetensors", (tmp_path / "adapter/adapter_model.safetensors").read_bytes()[:-1000]),
        ("adapter_model.safetensors", b""),
        ("adapter_config.json", json.dumps({"base_model_name_or_path": str(tmp_path / "base"), "peft_type": "LOWRANK"}).encode()),
    ]:
        cut = shutil.copytree(tmp_path / "adapter", tmp_path / "cut", dirs_exist_ok=True)
        (cut / name).write_bytes(content)
        with pytest.raises(EnvironmentFault, match="The adapter in .*cut cannot be read: ") as caught:
            load_policy(local(cut), keep_reference=False)
        assert caught.value.mend
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(EnvironmentFault, match="was trained on"):
        load_policy(local(tmp_path / "adapter"), keep_reference=False)


def test_a_fresh_adapter_is_seeded_and_leaves_the_random_state_alone(tmp_path):
    tiny_policy("qwen2_5_vl").save(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = load_policy(local(tmp_path, lora_rank=2), keep_reference=True, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert_same(weights(one), weights(load_policy(local(tmp_path, lora_rank=2), keep_reference=True, seed=1)))
    assert str(tmp_path.resolve()) == one.model.peft_config["default"].base_model_name_or_path


def test_loading_in_bfloat16(tmp_path):
    tiny_policy("qwen3_vl").save(tmp_path)
    policy = load_policy(local(tmp_path, dtype="bfloat16", lora_rank=2), keep_reference=True)
    assert policy.dtype == torch.bfloat16 and {weight.dtype for weight in policy.parameters().values()} == {torch.float32}
    torch.testing.assert_close(scores(policy), scores(tiny_policy("qwen3_vl")), rtol=0.1, atol=0.2)


def test_what_cannot_be_loaded_is_named_with_its_mend(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    cases = [("", UsageError, "policy.path is empty"), (str(tmp_path / "none"), UsageError, "No model folder")]
    cases += [("nobody/nothing-at-all", EnvironmentFault, "HF_HUB_OFFLINE"), (str(tmp_path), EnvironmentFault, "no config.json")]
    for path, kind, text in cases:
        with pytest.raises(kind, match=text) as caught:
            load_policy(PolicyConfig(path=path, device="cpu"), keep_reference=False)
        assert caught.value.mend

    whole = tmp_path / "whole"
    tiny_policy("qwen2_5_vl").save(whole)
    for missing, text in [
        ("processor_config.json", "no processor"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "no \\*.safetensors"),
    ]:
        part = shutil.copytree(whole, tmp_path / f"without-{missing}")
        (part / missing).unlink()
        (part / "pytorch_model.bin").write_bytes(b"\x80never read")
        with pytest.raises(EnvironmentFault, match=text):
            load_policy(local(part), keep_reference=False)

    cut = shutil.copytree(whole, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        load_policy(local(cut), keep_reference=False)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        damaged = shutil.copytree(whole, tmp_path / f"damaged-{name}")
        file = damaged / name
        if name == "config.json":
            config = json.loads(file.read_text())
            config["text_config"]["num_hidden_layers"] = [1]
            file.write_text(json.dumps(config))
        elif name == "chat_template.jinja":
            file.write_text("{% if messages %}")
        else:
            file.write_bytes(file.read_bytes()[:50])
        with pytest.raises(EnvironmentFault, match="cannot be (read|used)"):
            prompt_ids(load_processing(str(damaged)), "what is it", (2, 4, 4), (0.5, 1.5), order="text_first", sample_id="a")
    wide = shutil.copytree(whole, tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (wide / "config.json").write_text(json.dumps(config))
    with pytest.raises(EnvironmentFault, match="have other sizes than its config.json says"):
        load_policy(local(wide), keep_reference=False)
    lacking = shutil.copytree(whole, tmp_path / "lacking")
    tensors = load_file(lacking / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "layers.1.mlp" not in name}, lacking / "model.safetensors")
    with pytest.raises(EnvironmentFault, match=r"lacks 3 of the model's weights, .*layers.1.mlp.down_proj"):
        load_policy(local(lacking), keep_reference=False)

    text_only = shutil.copytree(whole, tmp_path / "text-only")
    (text_only / "config.json").write_text(json.dumps({"model_type": "qwen2", "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(UsageError, match="'qwen2'"):
        load_processing(str(text_only))
    (text_only / "config.json").write_text("{")
    with pytest.raises(EnvironmentFault, match="not a model's configuration"):
        load_processing(str(text_only))
    with pytest.raises(UsageError, match="(?s)q_pro'.*Did you mean 'q_proj'"):
        load_policy(local(whole, lora_rank=2, lora_targets=("q_pro",)), keep_reference=False)
    with pytest.raises(UsageError, match="no device"):
        load_policy(PolicyConfig(path=str(whole), device="gpu0"), keep_reference=False)


def test_a_mistyped_folder_is_no_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("a path is looked for on the network"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo/policy").mkdir(parents=True)
    (tmp_path / "demo/notes.txt").touch()
    for path in ("demo/polcy", "./demo/polcy", str(tmp_path / "demo/polcy")):
        with pytest.raises(UsageError, match="No model folder at .*polcy") as caught:
            model_folder(path)
        assert caught.value.mend == f"Did you mean {Path(path).parent / 'policy'}?"
    assert nearest_model(tmp_path / "demo/policy") == ""  # not itself
    with pytest.raises(UsageError, match="No model folder at 'smal'") as caught:
        model_folder("smal")
    assert caught.value.mend == "Did you mean small?"
    for path in ("demo/Qwen2.5-VL", "demo/notes.tx"):
        with pytest.raises(UsageError, match="demo is a folder here; for a model of that name on the hub"):
            model_folder(path)


def test_what_may_be_sampled():
    policy = tiny_policy("qwen2_5_vl")
    special = {
        policy.tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "vision_pad", "image_pad", "video_pad", "im_start")
    }
    assert special < set(policy.forbidden_ids) and not set(policy.end_ids) & set(policy.forbidden_ids)
    assert set(range(len(policy.tokenizer), 352)) < set(policy.forbidden_ids)
    assert not set(policy.tokenizer.encode("<answer>12.5 to 20.0</answer>")) & set(policy.forbidden_ids)
    assert policy.end_ids == tuple(policy.base.generation_config.eos_token_id)


def test_every_field_says_what_its_change_means():
    assert issubclass(PolicyConfig, Section)
    for name, field in PolicyConfig.model_fields.items():
        assert field.json_schema_extra["on_resume"] in {"free", "warned", "refused"}, name


def test_a_clip_of_noise_is_what_it_says():
    clip = tiny_clip(frames=3, height=8, width=16, fps=4.0)
    assert clip.frames_NCHW.shape == (3, 3, 8, 16) and clip.times_s == (0.0, 0.25, 0.5)


def test_attention_that_has_no_gradients_on_a_cpu_is_refused_there():
    with pytest.raises(UsageError, match="no gradients on a CPU"):
        load_policy(local(SMALL_MODEL, attention="flex"), keep_reference=False)
