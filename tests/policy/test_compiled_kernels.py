"""Every Triton kernel, compiled by Triton's own compiler for cards that are not here, at the sizes of released models: it compiles, its
shared memory fits the card, and hardly a register spills. What the kernels compute is held in test_kernels.py."""

import re
import subprocess
from pathlib import Path
from unittest import mock

import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import driver  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from videochat_r1.policy.kernels import decode, gate, merge, norm, rotary  # noqa: E402
from videochat_r1.policy.memory import sizes_of  # noqa: E402
from videochat_r1.policy.released import CONFIGS  # noqa: E402

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""Shared memory that one program may take, by compute capability (CUDA C++ Programming Guide, "Technical Specifications per Compute
Capability"): A100; A6000; L40S and 4090; H100 and H200; B200; 5090."""

RESOURCES = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
A_FEW = 96  # bytes of registers that a thread may put aside where a program keeps a head's sums of 64 queries
B3, B7 = "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"


class AbsentCard:
    """What Triton asks of a driver when it compiles; nothing can be launched."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return 1000 + self.capability  # kernels are kept by device

    def get_current_stream(self, device):
        return 0


@pytest.fixture
def compiled_for():
    """A function: (name, kernel) of each that some work starts, compiled for a capability and not run."""

    def compiled(capability, work):
        found = []
        run = JITFunction.run

        def without_launch(function, *args, grid, warmup, **kwargs):
            assert all(0 < count < 2**31 if axis == 0 else 0 < count < 2**16 for axis, count in enumerate(grid))
            kernel = run(function, *args, grid=grid, warmup=True, **kwargs)
            found.append((f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}", kernel))
            return kernel

        with mock.patch.object(driver, "_active", AbsentCard(capability)), mock.patch.object(JITFunction, "run", without_launch):
            work()
        return found

    return compiled


def drawn(*shape, dtype=torch.bfloat16, trained=False):
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=trained)


def decode_step(sizes, dtype=torch.bfloat16, prompts=4, tails=8, slots=3840, capacity=256):
    rows, size = prompts * tails, 128
    heads, kv_heads = sizes.query_width // size, sizes.key_width // size
    side_by_side = drawn(rows, (heads + 2 * kv_heads) * size, dtype=dtype)
    q, k, v = (x.unflatten(1, (-1, size)) for x in side_by_side.split([heads * size, kv_heads * size, kv_heads * size], 1))
    in_prompts, in_tails = (drawn(*shape, size, dtype=dtype) for shape in ((prompts, kv_heads, slots), (rows, kv_heads, capacity)))
    lengths, slot = drawn(prompts, dtype=torch.int32), drawn(1, dtype=torch.int64)
    for new_k, new_v in ((k, v), (k.contiguous(), v.contiguous())):
        decode.attend_step(q.contiguous(), new_k, new_v, in_prompts, in_prompts, lengths, in_tails, in_tails, slot, 0.09)


def row(sizes, dtype=torch.bfloat16, tokens=5804, prompt=3756):
    """The kernels of a layer on one row, forward and backward, and of the tower's heads."""
    size = 128
    heads, kv_heads = sizes.query_width // size, sizes.key_width // size
    x, weight = drawn(tokens, sizes.width, dtype=dtype, trained=True), drawn(sizes.width, dtype=dtype, trained=True)
    norm.rms_norm(x, weight, 1e-6).sum().backward()
    norm.rms_norm(x, weight.detach(), 1e-6).sum().backward()
    norm.rms_norm(drawn(tokens, heads, size, dtype=dtype, trained=True), drawn(size, dtype=dtype), 1e-6).sum().backward()
    inner = [drawn(tokens, sizes.inner, dtype=dtype, trained=True) for _ in range(2)]
    gate.silu_product(*inner).sum().backward()
    gate.silu_of_halves(drawn(32, 2 * sizes.inner, dtype=dtype))
    for q_heads, k_heads, width in ((heads, kv_heads, size), (16, 16, sizes.vision_width // 16)):
        q, k = (drawn(tokens, count, width, dtype=dtype, trained=True) for count in (q_heads, k_heads))
        angles = drawn(tokens, width, dtype=torch.float32 if k_heads == 16 else dtype)
        sum(turned.sum() for turned in rotary.turn(q, k, angles, angles)).backward()
    tails = tokens - prompt
    lse, part_lse = (drawn(heads, count, dtype=torch.float32) for count in (tokens, tails))
    out, part = (drawn(count, heads, size, dtype=dtype) for count in (tokens, tails))
    merge.merge_into(out, lse, part, part_lse, drawn(tails, dtype=torch.int64))


@pytest.fixture
def hold(tmp_path):
    def fits(kernels, capability, spill):
        for name, kernel in kernels:
            assert kernel.metadata.shared <= SHARED_KIB[capability] * 1024, (name, kernel.metadata.shared)
            assert spilled(kernel, tmp_path / "kernel.cubin") <= spill, name

    return fits


def spilled(kernel, place):
    """Bytes of local memory that a thread's registers overflow into; it has 255 of four bytes."""
    if not RESOURCES.is_file():
        pytest.skip("this build of Triton comes without cuobjdump")
    place.write_bytes(kernel.asm["cubin"])
    said = subprocess.run([RESOURCES, "--dump-resource-usage", place], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", said)
    assert found, said
    return sum(int(number) for pair in found for number in pair)


@pytest.mark.parametrize("capability", SHARED_KIB)
def test_every_kernel_compiles_for_the_cards_that_people_have(compiled_for, hold, capability):
    sizes = sizes_of(CONFIGS[B3])

    def work():
        decode_step(sizes)
        row(sizes)

    kernels = compiled_for(capability, work)
    everyone = {"decode._over_prompts", "decode._over_tails", "gate._forward", "gate._backward", "gate._of_halves", "merge._merge"}
    assert {name for name, _ in kernels} == everyone | {"norm._forward", "norm._backward", "rotary._turn"}
    hold(kernels, capability, spill=0 if capability == 90 else A_FEW)


@pytest.mark.parametrize("path", [B7, "Qwen/Qwen3-VL-8B-Instruct"])
def test_every_kernel_compiles_at_the_sizes_of_other_models(compiled_for, hold, path):
    sizes = sizes_of(CONFIGS[path])

    def work():
        decode_step(sizes, prompts=2, tails=16, slots=16_640, capacity=1024)
        row(sizes)

    hold(compiled_for(89, work), 89, spill=A_FEW)


def test_every_kernel_compiles_in_float32_where_shared_memory_is_small(compiled_for, hold):
    sizes = sizes_of(CONFIGS[B3])
    hold(compiled_for(86, lambda: (decode_step(sizes, torch.float32), row(sizes, torch.float32))), 86, spill=320)
