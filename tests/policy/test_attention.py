"""The layout [prompt | c_1 | ... | c_G], on its own: every way of taking its attention against one masked call."""

import pytest
import torch

from videochat_r1.policy import flash
from videochat_r1.policy.attention import SharedRow

ROWS = {
    "one group, equal tails": ([7], [(3, 3, 3)]),
    "mixed lengths, one token, none": ([7], [(5, 1, 0, 4)]),
    "groups that differ in size": ([4, 9, 1], [(2, 6), (3, 3, 1, 8, 2), (1,)]),
    "a prompt alone among groups": ([5, 3, 6], [(4, 2), (), (0, 0)]),
    "longer than a kernel's block": (
        [150],
        [
            (70, 129, 3),
        ],
    ),
}


def states(row, heads=4, kv_heads=2, size=16, dtype=torch.float32, device="cpu"):
    draw = torch.Generator().manual_seed(row.length)
    return [
        torch.randn(1, row.length, n, size, generator=draw).to(device, dtype).transpose(1, 2).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    ]


def attend(row, q, k, v, weight):
    out = row.attend(0, q, k, v, 0.3)
    return out, torch.autograd.grad((out * weight).sum(), (q, k, v))


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 1)], ids=["one query a key", "two", "all on one"])
@pytest.mark.parametrize("backend", ["segments", "portable"])
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_every_way_gives_the_masked_call(case, backend, heads, kv_heads):
    prompts, tails = ROWS[case]
    oracle, row = (SharedRow(prompts, tails, torch.device("cpu"), each) for each in ("dense", backend))
    q, k, v = states(row, heads, kv_heads)
    weight = torch.randn(1, row.length, heads, 16, generator=torch.Generator().manual_seed(1))
    expected, expected_grads = attend(oracle, q, k, v, weight)
    out, grads = attend(row, q, k, v, weight)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-4)


def test_the_cpu_has_a_flash_kernel():
    row = SharedRow([4], [(2,)], torch.device("cpu"))
    q, k, _ = states(row)
    assert flash.kernel_for(q, k) is flash.CPU  # else "segments" was tested as "portable"


def test_the_mask_against_one_written_by_hand():
    row = SharedRow([2, 1], [(1, 2), (1,)], torch.device("cpu"))
    expected = """
        1......
        11.....
        111....
        11.1...
        11.11..
        .....1.
        .....11"""
    assert ["".join("1" if seen else "." for seen in line) for line in row.mask_LL.tolist()] == expected.split()


def test_a_row_without_a_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt"):
        SharedRow([3, 0], [(1,), (1,)], torch.device("cpu"))
    with pytest.raises(ValueError, match="prompt"):
        SharedRow([], [], torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_the_cuda_kernel_is_as_near_to_float32_as_plain_operations_are(case):
    prompts, tails = ROWS[case]
    device = torch.device("cuda")
    row, plain, oracle = (SharedRow(prompts, tails, device, each) for each in ("segments", "portable", "dense"))
    exact = states(row, 8, 2, 64, torch.float32, device)
    half = [x.detach().to(torch.bfloat16).requires_grad_() for x in exact]
    assert flash.kernel_for(half[0], half[1]) is flash.CUDA
    weight = torch.randn(1, row.length, 8, 64, generator=torch.Generator().manual_seed(1)).to(device)
    expected, expected_grads = attend(oracle, *exact, weight)
    out, grads = attend(row, *half, weight)
    plain_out, plain_grads = attend(plain, *half, weight)
    for got, by_plain, wanted in zip((out, *grads), (plain_out, *plain_grads), (expected, *expected_grads), strict=True):
        error, plain_error = ((x.float() - wanted).norm() / wanted.norm() for x in (got, by_plain))
        assert error <= 1.5 * plain_error + 1e-3
