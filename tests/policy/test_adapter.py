"""Adapted layers against PEFT's own forward."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from videochat_r1.policy import adapter


def adapted(dtype=torch.float32, bias=True, **settings):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(24, 40, bias=bias), nn.SiLU(), nn.Linear(40, 8, bias=bias)).to(dtype)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=10, target_modules=["0", "2"], **settings)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    return model


def run(model, x):
    x = x.clone().requires_grad_()
    out = model(x)
    (out.float() ** 2).sum().backward()
    grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return out.detach(), x.grad, grads


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (1, 24)], ids=str)
def test_outputs_and_gradients_are_pefts(shape, bias):
    model, x = adapted(bias=bias), torch.randn(*shape)
    by_peft = run(model, x)
    adapter.attach(model)
    ours = run(model, x)
    torch.testing.assert_close(ours, by_peft, atol=1e-5, rtol=1e-5)
    assert len(ours[2]) == 4 and all("lora_" in name for name in ours[2])


def test_in_bfloat16_it_is_nearly_as_near_to_float32_as_peft_is():
    model, x = adapted(torch.bfloat16), torch.randn(64, 24)
    exact = adapted()
    exact.load_state_dict({name: weight.float() for name, weight in model.state_dict().items()})
    wanted = run(exact, x.bfloat16().float())
    by_peft = run(model, x.bfloat16())
    adapter.attach(model)
    ours = run(model, x.bfloat16())
    assert ours[0].dtype == torch.bfloat16
    for name, grad in ours[2].items():
        assert grad.dtype == torch.float32
        gap, peft_gap = ((one[2][name] - wanted[2][name]).norm() / wanted[2][name].norm() for one in (ours, by_peft))
        assert gap < 1.5 * peft_gap + 5e-3, name
    gap, peft_gap = ((one[0].float() - wanted[0]).norm() / wanted[0].norm() for one in (ours, by_peft))
    assert gap < 1.5 * peft_gap + 5e-3


def test_adapters_off_and_merged_are_the_base_product():
    model, x = adapted(), torch.randn(5, 24)
    with model.disable_adapter():
        off = model(x)
    merged_by_peft = model(x)
    adapter.attach(model)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), off)
    model.merge_adapter()
    torch.testing.assert_close(model(x), merged_by_peft, atol=1e-5, rtol=1e-5)
    with model.disable_adapter():  # PEFT takes the adapter out of merged weights
        torch.testing.assert_close(model(x), off, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}, {"lora_dropout": 0.5}], ids=str)
def test_what_is_not_plain_stays_pefts(settings):
    model, x = adapted(**settings), torch.randn(5, 24)
    by_peft = run(model, x)
    adapter.attach(model)
    torch.testing.assert_close(run(model, x), by_peft)


def test_nothing_is_kept_but_what_the_gradients_need():
    """The input once for both of its products, the rank-wide product, and weights."""
    model, x = adapted(torch.bfloat16), torch.randn(1000, 24, dtype=torch.bfloat16)
    adapter.attach(model)
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model.model[0](x)
    sizes = sorted(tensor.numel() for tensor in kept if tensor.shape[0] == 1000)
    assert sizes == [1000 * 4, 1000 * 24] and all(tensor.dtype == torch.bfloat16 for tensor in kept)
