"""The Triton kernels against the stock code that they stand in for: on a CPU by Triton's interpreter, which must be chosen before Triton is
loaded, so in a process of its own; on a GPU as they are."""

import os
import subprocess
import sys

import pytest
import torch

CHECKS = ["norm", "gate", "rotary", "decode", "joined", "merge", "filled", "layers", "kept"]


@pytest.fixture(scope="module")
def interpreted():
    """What the checks said, all in one process: loading takes longer than they do."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "tests.policy.kernel_checks", "cpu"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("check", CHECKS)
def test_kernels_give_what_stock_code_gives_by_the_interpreter(interpreted, check):
    said, faults = interpreted
    assert f"{check} ok" in said, faults[-3000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("check", CHECKS)
def test_kernels_give_what_stock_code_gives_on_a_cuda_device(check, dtype):
    from tests.policy import kernel_checks

    getattr(kernel_checks, f"check_{check}")(torch.device("cuda"), dtype)
