"""A run on a processor leaves a GPU that is there alone: it may be full, or another's."""

import torch

from videochat_r1.grpo.metrics import Clock, machine_figures
from videochat_r1.grpo.state import random_tensors, restore_random


def test_clocks_figures_and_states_open_no_gpu(monkeypatch):
    def opened(*args):
        raise RuntimeError("CUDA error: all devices are busy")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", opened)
    assert not torch.cuda.is_initialized()
    with Clock()("policy"):
        pass
    assert "memory/gpu_peak_mb" not in machine_figures()
    states = random_tensors()
    assert not any(name.startswith("cuda") for name in states)
    restore_random(states)
