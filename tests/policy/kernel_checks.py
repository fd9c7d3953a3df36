"""Each kernel held to its oracle. `python -m tests.policy.kernel_checks DEVICE` runs all and says which are right; on a CPU with
TRITON_INTERPRET=1."""

import sys
from types import SimpleNamespace
from unittest import mock

import torch
from tests.policy.test_memory import hold_kept_to_account, hold_tower_to_account
from tests.tiny import FAMILIES, tiny_policy, tiny_prompt
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP, apply_rotary_pos_emb, apply_rotary_pos_emb_vision
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRMSNorm

from videochat_r1.policy import fused
from videochat_r1.policy.flash import merge
from videochat_r1.policy.joined import Joined
from videochat_r1.policy.kernels import decode
from videochat_r1.policy.kernels.decode import attend_step
from videochat_r1.policy.kernels.gate import silu_of_halves, silu_product
from videochat_r1.policy.kernels.merge import merge_into
from videochat_r1.policy.kernels.norm import rms_norm
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine


def drawn(*shape, device, dtype, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(device, dtype).requires_grad_()


def ramp(out):
    return torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape)


def hold(ours, stock, given):
    """Outputs and gradients of ours are as near to those of stock code in float32 as those of stock code in the type given are, and half as
    near again."""
    exact = [x.detach().float().requires_grad_() for x in given]
    results = []
    for work, inputs in ((ours, given), (stock, given), (stock, exact)):
        outs = work(*inputs)
        outs = outs if isinstance(outs, tuple) else (outs,)
        loss = sum((out.float() * ramp(out)).sum() for out in outs)
        results.append([*outs, *torch.autograd.grad(loss, inputs)])
    for number, (mine, theirs, wanted) in enumerate(zip(*results, strict=True)):
        gap, stock_gap = ((x.float() - wanted).norm() / wanted.norm().clamp(min=1e-6) for x in (mine, theirs))
        assert gap <= 1.5 * stock_gap + 2e-6, (number, float(gap), float(stock_gap))


def check_norm(device, dtype):
    for shape in ((37, 24), (2, 3, 5, 128), (1, 2048), (700, 16)):
        x, weight = drawn(*shape, device=device, dtype=dtype), drawn(shape[-1], device=device, dtype=dtype)

        def stock(x, weight):
            norm = Qwen3VLTextRMSNorm(shape[-1], eps=1e-6)  # noqa: B023
            return torch.func.functional_call(norm, {"weight": weight}, (x,))

        hold(lambda x, weight: rms_norm(x, weight, 1e-6), stock, [x, weight])
        hold(lambda x: rms_norm(x, weight.detach(), 1e-6), lambda x: stock(x, weight.detach().to(x.dtype)), [x])  # noqa: B023
    assert rms_norm(x[:0], weight, 1e-6).shape == x[:0].shape


def check_gate(device, dtype):
    given = [drawn(50, 3, 33, device=device, dtype=dtype, seed=seed) for seed in (0, 1)]
    hold(silu_product, lambda g, u: F.silu(g) * u, given)
    hold(lambda g, u: silu_product(g.transpose(0, 1), u.transpose(0, 1)), lambda g, u: (F.silu(g) * u).transpose(0, 1), given)
    for shape in ((3, 2 * 33), (2, 1, 2 * 2048), (0, 64)):
        x = drawn(*shape, device=device, dtype=dtype).detach()
        torch.testing.assert_close(silu_of_halves(x), silu_product(*x.chunk(2, -1)), atol=0, rtol=0)


def check_rotary(device, dtype):
    for heads, kv_heads, size in ((3, 2, 24), (16, 2, 32), (1, 1, 16)):
        q, k = (drawn(2, 5, count, size, device=device, dtype=dtype, seed=count) for count in (heads, kv_heads))
        angles = drawn(2, 5, size // 2, device=device, dtype=torch.float32).detach().repeat(1, 1, 2)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)

        def text(turn):
            return lambda q, k: turn(q.transpose(1, 2), k.transpose(1, 2), cos.to(q.dtype), sin.to(q.dtype))  # noqa: B023

        def vision(turn):
            return lambda q, k: turn(q[0], k[0], angles[0].cos(), angles[0].sin())  # noqa: B023

        hold(text(fused._turn_text), text(apply_rotary_pos_emb), [q, k])
        hold(vision(fused._turn_vision), vision(apply_rotary_pos_emb_vision), [q, q])
    one = fused._turn_text(q.transpose(1, 2), k.transpose(1, 2), cos[:1], sin[:1])  # one row of angles for the whole batch
    torch.testing.assert_close(one, apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos[:1], sin[:1]), atol=2e-2, rtol=2e-2)


def check_decode(device, dtype):
    cases = (
        (2, 3, 2, 2, 200, 70, 16, [200, 37], 5),
        (1, 8, 2, 8, 130, 64, 32, [129], 0),
        (2, 12, 1, 7, 64, 128, 16, [1, 64], 65),
        (3, 1, 4, 1, 700, 8, 64, [700, 650, 3], 7),
    )
    for prompts, tails, kv_heads, repeats, slots, capacity, size, lengths, slot in cases:
        rows, heads = prompts * tails, kv_heads * repeats
        q, new_k, new_v = (
            drawn(rows, n, size, device=device, dtype=dtype, seed=n).detach() for n in (heads, kv_heads, kv_heads + 1 - kv_heads % 2)
        )
        new_v = new_v[:, :kv_heads].contiguous() if new_v.shape[1] > kv_heads else new_v.expand(rows, kv_heads, size).contiguous()
        prompt_k, prompt_v = (drawn(prompts, kv_heads, slots, size, device=device, dtype=dtype, seed=n).detach() for n in (1, 2))
        tail_k, tail_v = (drawn(rows, kv_heads, capacity, size, device=device, dtype=dtype, seed=n).detach() for n in (3, 4))
        lengths_N = torch.tensor(lengths, dtype=torch.int32, device=device)
        expected = []
        for row in range(rows):
            prompt, filled = row // tails, lengths[row // tails]
            keys, values = (
                torch.cat([of_prompt[prompt, :, :filled], of_tail[row, :, :slot], new[row][:, None]], 1)
                .repeat_interleave(repeats, 0)
                .float()
                for of_prompt, of_tail, new in ((prompt_k, tail_k, new_k), (prompt_v, tail_v, new_v))
            )
            expected.append(((keys @ q[row].float()[:, :, None])[:, :, 0] * 0.3).softmax(-1)[:, None] @ values)
        out = attend_step(q, new_k, new_v, prompt_k, prompt_v, lengths_N, tail_k, tail_v, torch.tensor([slot], device=device), 0.3)
        wanted = torch.stack(expected)[:, :, 0]
        limit = 1e-5 if dtype == torch.float32 else 1e-2
        assert float((out.float() - wanted).norm() / wanted.norm()) < limit
        assert torch.equal(tail_k[:, :, slot], new_k) and torch.equal(tail_v[:, :, slot], new_v)
        side_by_side = torch.cat([x.flatten(1) for x in (q, new_k, new_v)], 1).split([heads * size, kv_heads * size, kv_heads * size], 1)
        _, wide_k, wide_v = (x.unflatten(1, (-1, size)) for x in side_by_side)
        assert wide_v.stride(0) > new_v.stride(0)
        again = attend_step(q, wide_k, wide_v, prompt_k, prompt_v, lengths_N, tail_k, tail_v, torch.tensor([slot], device=device), 0.3)
        assert torch.equal(again, out) and torch.equal(tail_v[:, :, slot], new_v)


def check_layers(device, dtype):
    """Whole stock models with and without: what comes out, and the gradients."""
    for family in FAMILIES:
        policy = tiny_policy(family, lora_rank=0, train_vision=True, kernels="stock")
        policy.model.to(device, dtype)
        prompt = tiny_prompt(policy)
        states = []
        for attached in (False, True):
            if attached:
                fused.attach(policy.base)
                tower, language = policy.base.model.visual, policy.base.model.language_model
                assert all("forward" in layer.self_attn.__dict__ and "forward" in layer.mlp.__dict__ for layer in language.layers)
                assert all("forward" in block.attn.__dict__ for block in tower.blocks)
            (features,) = policy._see([prompt])
            text = policy.base.get_input_embeddings()(prompt.ids_P.to(device))[None]
            hidden = policy.family.hidden(policy.base, text, prompt.positions_3P[:, None].to(device), (), None)
            sum((out.float() * ramp(out)).sum() for out in (features.embeds_VD, hidden)).backward()
            grads = {name: weight.grad.float().clone() for name, weight in policy.base.named_parameters() if weight.grad is not None}
            states.append({"features": features.embeds_VD.detach().float(), "hidden": hidden.detach().float(), **grads})
            policy.base.zero_grad(set_to_none=True)
        limit = 1e-4 if dtype == torch.float32 else 5e-2
        for name, stock in states[0].items():
            assert float((states[1][name] - stock).norm()) <= limit * float(stock.norm()) + 1e-5, name
        with fused.stock_layers(policy):
            assert not any("forward" in layer.mlp.__dict__ for layer in policy.base.model.language_model.layers)
        assert all("forward" in layer.mlp.__dict__ for layer in policy.base.model.language_model.layers)


def check_joined(device, dtype):
    """A rollout whose steps run by the kernels, layers of one input apart and joined: it samples the plain log-probabilities."""
    for family in FAMILIES:
        policy = tiny_policy(family, lora_rank=4)
        policy.model.to(device, dtype)
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        prompts, sampling = [tiny_prompt(policy), tiny_prompt(policy, "When?")], Sampling(max_tokens=4)
        fused.attach(policy.base.model.language_model)  # the tower's layers have a check of their own
        policy.joined = Joined(policy.base.model.language_model)
        by_kernel = mock.patch("videochat_r1.rollout._tails.decode_kernel", lambda device: decode)
        with by_kernel, mock.patch.object(decode, "attend_step", wraps=decode.attend_step) as step:
            for joins in (False, True):
                engine = NativeEngine(policy, capture=None if device.type == "cuda" else lambda work: work, joins=joins)
                groups = engine.complete(prompts, per_prompt=2, sampling=sampling, seeds=[1, 2])
                assert step.called
                step.reset_mock()
                for prompt, group in zip(prompts, groups, strict=True):
                    with fused.stock_layers(policy):
                        plain = logprobs(policy, prompt, group).logprobs
                    for each, wanted in zip(group, plain, strict=True):
                        limit = 1e-4 if dtype == torch.float32 else 0.1
                        torch.testing.assert_close(each.logprobs_T, wanted.detach().float().cpu(), atol=limit, rtol=0)


def check_merge(device, dtype):
    """Into every third token of a row, heads and sizes that are no powers of two among them."""
    for length, heads, size in ((30, 4, 16), (31, 3, 24), (1, 16, 64)):
        index_T = torch.arange(0, length, 3, device=device)
        out, part = (drawn(count, heads, size, device=device, dtype=dtype).detach() for count in (length, len(index_T)))
        lse, part_lse = (drawn(heads, count, device=device, dtype=torch.float32).detach() * 20 for count in (length, len(index_T)))
        wanted, wanted_lse = out.clone(), lse.clone()
        merged = merge(part.transpose(0, 1), part_lse, out[index_T].transpose(0, 1), lse[:, index_T])
        wanted[index_T], wanted_lse[:, index_T] = merged[0].transpose(0, 1), merged[1]
        merge_into(out, lse, part, part_lse, index_T)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(lse, wanted_lse)


def check_filled(device, dtype):
    """A layer whose width no tensor core likes, with biases, as in the tower of Qwen2.5-VL."""
    torch.manual_seed(0)
    config = SimpleNamespace(hidden_size=16, intermediate_size=34, hidden_act="silu")
    mlp = Qwen2_5_VLMLP(config, bias=True).to(device, dtype)
    names = [name for name, _ in mlp.named_parameters()]

    def ours(x, *weights):
        fused.attach(mlp)
        out = torch.func.functional_call(mlp, dict(zip(names, weights, strict=True)), (x,))
        del mlp.forward
        return out

    def stock(x, *weights):
        return torch.func.functional_call(mlp, dict(zip(names, weights, strict=True)), (x,))

    given = [drawn(3, 16, device=device, dtype=dtype), *(weight.detach().clone().requires_grad_() for weight in mlp.parameters())]
    hold(ours, stock, given)


def check_kept(device, dtype):
    """What fused layers keep for their backward pass, with an adapter and without."""
    for family, lora_rank in zip(FAMILIES, (8, 0), strict=True):
        policy = tiny_policy(family, lora_rank=lora_rank)
        policy.model.to(device)
        fused.attach(policy.base.model.language_model)
        hold_kept_to_account(policy, dtype, fused=True, frames=2, words=3)
    policy = tiny_policy("qwen2_5_vl", train_vision=True)
    policy.model.to(device)
    fused.attach(policy.base.model.visual)
    hold_tower_to_account(policy, dtype, fused=True, frames=2)


if __name__ == "__main__":
    device = torch.device(sys.argv[1])
    for name in ("norm", "gate", "rotary", "decode", "joined", "merge", "filled", "layers", "kept"):
        globals()[f"check_{name}"](device, torch.float32)
        print(f"{name} ok", flush=True)
