"""The layout [prompt | c_1 | ... | c_G], on its own: every way of taking its attention against one masked call."""

import pytest
import torch

from videochat_r1.policy import fastest as fastest_module
from videochat_r1.policy import flash
from videochat_r1.policy.attention import SharedRow, kernel_of
from videochat_r1.policy.fastest import Geometry, candidates, fastest, measured, time_of
from videochat_r1.policy.flex import BLOCK, block_mask, visible_blocks
from videochat_r1.policy.segments import Segments

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


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_the_flex_backend_gives_the_masked_call_forward(case):
    """PyTorch has no backward of it on a CPU: the test on a CUDA device holds the gradients."""
    prompts, tails = ROWS[case]
    oracle, row = (SharedRow(prompts, tails, torch.device("cpu"), each) for each in ("dense", "flex"))
    q, k, v = (x.detach() for x in states(row))
    torch.testing.assert_close(row.attend(0, q, k, v, 0.3), oracle.attend(0, q, k, v, 0.3), atol=2e-6, rtol=1e-5)


def test_the_cpu_has_a_flash_kernel():
    assert kernel_of("segments", torch.device("cpu"), torch.float32, 16) is flash.FLASH_CPU  # else "segments" was tested as "portable"


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


@pytest.mark.parametrize("case", [*ROWS, "three groups over many blocks"], ids=str)
def test_blocks_are_those_of_the_mask(case):
    prompts, tails = ROWS.get(case, ([300, 128, 5], [(200, 0, 77, 256), (), (128, 300, 1)]))
    row = Segments(prompts, tails, torch.device("cpu"))
    count = -(-row.length // BLOCK)
    mask_LL = torch.zeros(count * BLOCK, count * BLOCK, dtype=torch.bool)
    mask_LL[: row.length, : row.length] = row.mask_LL
    blocks_NNBB = mask_LL.view(count, BLOCK, count, BLOCK).transpose(1, 2)
    visited_NN, whole_NN = visible_blocks(row)
    assert torch.equal(visited_NN, blocks_NNBB.any(-1).any(-1))
    assert torch.equal(whole_NN, blocks_NNBB.all(-1).all(-1))
    mask = block_mask(row)
    assert torch.equal(mask.to_dense()[0, 0].bool(), visited_NN)
    query, key = (axis.flatten() for axis in torch.meshgrid(torch.arange(row.length), torch.arange(row.length), indexing="ij"))
    assert torch.equal(mask.mask_mod(0, 0, query, key).view(row.length, -1), row.mask_LL)


@pytest.mark.parametrize("kernel", [flash.EFFICIENT_CUDA, flash.FLASH_CUDA], ids=["efficient", "variable-length flash"])
def test_the_cuda_kernels_call_their_operators_as_they_are_declared(kernel):
    """On tensors without numbers: arguments and shapes, where no CUDA device is at hand."""
    row = Segments([70, 5], [(3, 9), (4, 0, 4)], torch.device("meta"))
    q, k, v = (torch.empty(row.length, heads, 64, dtype=torch.bfloat16, device="meta").transpose(0, 1) for heads in (8, 2, 2))
    out, lse = kernel.forward(q, k, v, row, 0.1)
    assert out.shape == q.shape and lse.shape == q.shape[:2] and lse.dtype == torch.float32
    assert [grad.shape for grad in kernel.backward(out, q, k, v, out, lse, row, 0.1)] == [q.shape, k.shape, v.shape]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["segments", "efficient", "flex"])
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_the_cuda_kernels_are_as_near_to_float32_as_plain_operations_are(case, backend):
    prompts, tails = ROWS[case]
    device = torch.device("cuda")
    row, plain, oracle = (SharedRow(prompts, tails, device, each) for each in (backend, "portable", "dense"))
    exact = states(row, 8, 2, 64, torch.float32, device)
    half = [x.detach().to(torch.bfloat16).requires_grad_() for x in exact]
    assert backend == "flex" or kernel_of(backend, device, torch.bfloat16, 64) is not None
    weight = torch.randn(1, row.length, 8, 64, generator=torch.Generator().manual_seed(1)).to(device)
    expected, expected_grads = attend(oracle, *exact, weight)
    out, grads = attend(row, *half, weight)
    plain_out, plain_grads = attend(plain, *half, weight)
    for got, by_plain, wanted in zip((out, *grads), (plain_out, *plain_grads), (expected, *expected_grads), strict=True):
        error, plain_error = ((x.float() - wanted).norm() / wanted.norm() for x in (got, by_plain))
        assert error <= 1.5 * plain_error + 1e-3


CPU = Geometry(heads=4, kv_heads=2, size=16, dtype=torch.float32, device=torch.device("cpu"))


def test_a_processor_measures_nothing():
    assert candidates(CPU) == ("segments",)
    assert fastest([7], [(3, 2)], CPU, with_grad=True) == "segments"


@pytest.mark.parametrize("with_grad", [True, False], ids=["with gradients", "without"])
def test_a_timing_runs_the_backend_that_it_names(with_grad):
    made = {}
    for backend in ("segments", "portable", "dense"):
        seconds, made[backend] = time_of(SharedRow([7, 5], [(3, 2), (4,)], CPU.device, backend), CPU, with_grad)
        assert seconds > 0
    torch.testing.assert_close(made["segments"], made["dense"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made["portable"], made["dense"], atol=1e-5, rtol=1e-4)
    assert len(made["dense"]) == 21 * 4 * 16 * (1 + (2 if with_grad else 0))  # out, and gradients of 4 + 2 + 2 heads
    assert measured([7], [(3, 2)], CPU, ("segments", "portable"), with_grad=with_grad) in ("segments", "portable")


def chosen_with(caplog, figures):
    """The choice among backends of given seconds and numbers; None: the backend fails."""

    def timing(row, geometry, with_grad):
        if figures[row.backend] is None:
            raise RuntimeError("no kernel image\nand more")
        seconds, value = figures[row.backend]
        return seconds, torch.full((4,), value)

    caplog.clear()
    choice = measured([7], [(3,)], CPU, tuple(figures), with_grad=True, timing=timing)
    return choice, caplog.text


def test_the_fastest_is_taken_and_a_wrong_or_failing_one_left_out(caplog):
    assert chosen_with(caplog, {"segments": (2.0, 1.0), "flex": (1.0, 1.0)}) == ("flex", "")
    assert chosen_with(caplog, {"segments": (1.0, 1.0), "flex": (0.98, 1.0)}) == ("segments", "")  # a tie stays with the first
    choice, said = chosen_with(caplog, {"segments": (2.0, 1.0), "efficient": (1.0, 1.5), "flex": (1.5, 1.0)})
    assert choice == "flex" and "efficient" in said and "5.0e-01" in said
    choice, said = chosen_with(caplog, {"segments": None, "efficient": (3.0, 1.0), "flex": None})
    assert choice == "efficient" and "no kernel image" in said and "and more" not in said
    assert chosen_with(caplog, {"segments": None})[0] == "portable"


def test_a_shortage_of_memory_is_no_choice():
    """Who asked makes smaller passes; plain operations for all passes to come would be the wrong lesson."""

    def timing(row, geometry, with_grad):
        raise torch.OutOfMemoryError("none left")

    with pytest.raises(torch.OutOfMemoryError):
        measured([7], [(3,)], CPU, ("segments", "flex"), with_grad=True, timing=timing)


def test_what_needs_more_memory_than_there_is_does_not_shrink_what_fits():
    def timing(row, geometry, with_grad):
        if row.backend == "flex":
            raise torch.OutOfMemoryError("none left")
        return 1.0, torch.ones(2)

    assert measured([7], [(3,)], CPU, ("segments", "flex"), with_grad=True, timing=timing) == "segments"


def test_a_choice_is_kept_for_rows_of_about_its_size(monkeypatch):
    asked = []

    def measure(prompts, tails, geometry, options, *, with_grad):
        asked.append((sum(prompts), with_grad))
        return "flex"

    monkeypatch.setattr(fastest_module, "_taken", {})
    monkeypatch.setattr(fastest_module, "candidates", lambda geometry: ("segments", "flex"))
    monkeypatch.setattr(fastest_module, "measured", measure)
    assert [fastest([length], [(9, 9)], CPU, with_grad=grad) for length, grad in [(100, True), (120, True), (120, False), (300, True)]]
    assert asked == [(100, True), (120, False), (300, True)]
