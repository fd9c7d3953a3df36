import itertools
from types import SimpleNamespace

import pytest
import torch
from tests.policy.stock import stock_inputs
from tests.tiny import FAMILIES, tiny_clip, tiny_policy, tiny_prompt
from transformers import DynamicCache

from videochat_r1.errors import UsageError
from videochat_r1.policy import vision_attention, vision_tables
from videochat_r1.policy.families.base import family_of
from videochat_r1.policy.logprobs import row_positions
from videochat_r1.policy.vision_attention import NAME, attend_windows, plan_windows

SIZES = [(4, 24, 40), (2, 32, 16), (6, 8, 8)]  # frames, height, width: windows of several lengths


def prompts_of(policy):
    return [tiny_prompt(policy, clip=tiny_clip(frames=n, height=h, width=w, seed=n)) for n, h, w in SIZES]


def test_a_model_type_finds_its_family_and_an_unknown_one_lists_them():
    for family in FAMILIES:
        assert family in family_of(tiny_policy(family).hf_config).model_types
    with pytest.raises(UsageError, match="qwen2_5_vl, qwen3_vl"):
        family_of(SimpleNamespace(model_type="llama"))


@pytest.mark.parametrize("family", FAMILIES)
def test_vision_equals_the_stock_tower_in_its_own_loop(family):
    policy, stock = tiny_policy(family), tiny_policy(family, vision_path="stock")
    assert policy.base.model.visual.config._attn_implementation == NAME
    assert all(block.attn.config is policy.base.model.visual.config for block in policy.base.model.visual.blocks)
    assert policy.base.model.language_model.config._attn_implementation == stock.base.model.visual.config._attn_implementation == "sdpa"
    prompts = prompts_of(policy)
    for prompt, features in zip(prompts, policy.vision(prompts), strict=True):
        expected = stock.base.model.get_video_features(prompt.patches, torch.tensor([prompt.grid_thw]), return_dict=True)
        torch.testing.assert_close(features.embeds_VD, expected.pooler_output[0], rtol=1e-5, atol=2e-6)
        assert len(features.embeds_VD) == (prompt.ids_P == policy.hf_config.video_token_id).sum()
        deeper = getattr(expected, "deepstack_features", None) or []
        for ours_VD, theirs in zip(features.deepstack_VD, deeper, strict=True):
            torch.testing.assert_close(ours_VD, theirs if isinstance(theirs, torch.Tensor) else theirs[0], rtol=1e-5, atol=2e-6)
    assert policy.counters["vision_passes"] == len(prompts)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_a_trained_tower_equal_the_stock_loops(family):
    grads = []
    for path in ("fast", "stock"):
        policy = tiny_policy(family, train_vision=True, vision_path=path)
        sum(features.embeds_VD.square().mean() for features in policy.vision(prompts_of(policy))).backward()
        grads.append({name: weight.grad for name, weight in policy.parameters().items() if weight.grad is not None})
    assert grads[0].keys() == grads[1].keys() and any("visual" in name for name in grads[0])
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-6)


def loop_over_windows(calls):
    """What a variable-length flash kernel gives, in the layout that it takes, by a plain loop."""

    def attend(q_SHD, k_SHD, v_SHD, bounds, longest, scale):
        calls.append(longest)
        assert bounds.dtype == torch.int32 and longest == int(bounds.diff().max()) and bounds[-1] == len(q_SHD)
        parts = []
        for start, end in itertools.pairwise(bounds.tolist()):
            q, k, v = (states[start:end].transpose(0, 1) for states in (q_SHD, k_SHD, v_SHD))
            parts.append(((q @ k.transpose(1, 2) * scale).softmax(-1) @ v).transpose(0, 1))
        return torch.cat(parts)

    return attend


@pytest.mark.parametrize("family", FAMILIES)
def test_one_variable_length_call_a_layer_equals_the_stock_loop(family, monkeypatch):
    """The GPU's way through the tower, with its kernel played by a loop: bounds, layout and gradients, not the kernel itself."""
    calls = []
    monkeypatch.setattr(vision_attention, "varlen_for", lambda query: loop_over_windows(calls))
    grads = []
    for path in ("fast", "stock"):
        policy = tiny_policy(family, train_vision=True, vision_path=path)
        features = policy.vision(prompts_of(policy))
        sum(each.embeds_VD.square().mean() for each in features).backward()
        grads.append([features[1].embeds_VD.detach(), *(weight.grad for weight in policy.parameters().values() if weight.grad is not None)])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert len(calls) == len(policy.base.model.visual.blocks)
    picture = max(height * width for _, height, width in (prompt.grid_thw for prompt in prompts_of(policy)))
    window = 16 if family == "qwen2_5_vl" else picture  # 2 x 2 tokens of 4 patches; Qwen3-VL has no windows
    assert calls == ([window, picture] * 2 if family == "qwen2_5_vl" else [picture] * len(calls))


def test_pytorchs_own_variable_length_function_is_found_where_it_takes_a_scale():
    pytest.importorskip("torch.nn.attention.varlen")
    found = vision_attention.varlen_by_name()
    assert found is None or callable(found)
    assert vision_attention.varlen_for(torch.zeros(1, 2, 4, 8)) is None  # a CPU has no such kernel


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_computed_once_a_grid_and_bounded(family, monkeypatch):
    monkeypatch.setattr(vision_tables, "_tables", type(vision_tables._tables)())
    computed = []
    monkeypatch.setattr(vision_tables, "_computed", lambda *args, real=vision_tables._computed: computed.append(args[1]) or real(*args))
    policy = tiny_policy(family)
    prompts = prompts_of(policy)
    first = policy.vision(prompts)
    again = policy.vision(prompts)
    assert len(computed) == len(SIZES)
    assert all(torch.equal(one.embeds_VD, two.embeds_VD) for one, two in zip(first, again, strict=True))
    tower, cpu = policy.base.model.visual, torch.device("cpu")
    assert vision_tables.tables_of(tower, [(1, 4, 4)], cpu)["max_seqlen"] == 16
    for rows in range(2, 2 + 2 * vision_tables.KEPT, 2):
        vision_tables.tables_of(tower, [(1, rows, 2)], cpu)
    assert len(vision_tables._tables) == vision_tables.KEPT


def test_a_videos_features_do_not_depend_on_the_videos_beside_it():
    policy = tiny_policy("qwen2_5_vl")
    prompts = prompts_of(policy)
    alone = [policy.vision([prompt])[0] for prompt in prompts]
    assert all(torch.equal(one.embeds_VD, two.embeds_VD) for one, two in zip(policy.vision(prompts), alone, strict=True))


@pytest.mark.parametrize("bounds", [[0, 3, 6, 9], [0, 3, 4, 7, 9], [0, 9], [0, 0, 4, 9]], ids=["equal", "mixed", "one", "an empty one"])
def test_windows_attend_to_themselves_alone(bounds):
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 9, 4, generator=draw) for _ in range(3))
    out, _ = attend_windows(None, query, key, value, None, scaling=0.5, cu_seq_lens_q=torch.tensor(bounds, dtype=torch.int32))
    for start, end in itertools.pairwise(bounds):
        weights = (query[:, :, start:end] @ key[:, :, start:end].transpose(-1, -2) * 0.5).softmax(-1)
        expected = (weights @ value[:, :, start:end]).transpose(1, 2)
        torch.testing.assert_close(out[:, start:end], expected, rtol=0, atol=1e-6)
    assert isinstance(plan_windows(torch.tensor(bounds)), int) == (bounds in ([0, 3, 6, 9], [0, 9]))


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_equal_the_stock_model_with_and_without_a_cache(family):
    policy = tiny_policy(family)
    prompt = tiny_prompt(policy)
    stock = stock_inputs(policy, 'When does "it turns" happen?', prompt.clip)
    with torch.no_grad():
        expected_PD = policy.base.model(**stock, use_cache=False).last_hidden_state[0]
        [features] = policy.vision([prompt])
        mask_BP = (prompt.ids_P == policy.hf_config.video_token_id)[None]
        embeds_BPD = policy.base.get_input_embeddings()(prompt.ids_P)[None].clone()
        embeds_BPD[mask_BP] = features.embeds_VD
        whole_BPD = policy.family.hidden(policy.base, embeds_BPD, prompt.positions_3P[:, None], [features], mask_BP)
        torch.testing.assert_close(whole_BPD[0], expected_PD, rtol=0, atol=1e-5)

        cache, cut = DynamicCache(config=policy.hf_config.get_text_config()), len(prompt) - 2
        positions_31P = row_positions(prompt, 0)[:, None]
        first_BPD = policy.family.hidden(
            policy.base, embeds_BPD[:, :cut], positions_31P[..., :cut], [features], mask_BP[:, :cut], past_key_values=cache
        )
        rest_BPD = policy.family.hidden(policy.base, embeds_BPD[:, cut:], positions_31P[..., cut:], [], None, past_key_values=cache)
        torch.testing.assert_close(torch.cat([first_BPD, rest_BPD], dim=1)[0], expected_PD, rtol=0, atol=1e-5)
