"""A stand-in for CUDA graphs on a CPU: the operators of a step are recorded with the tensors they read and wrote, and done again on those
very tensors. As with a CUDA graph, numbers of the host are frozen at what they were, and asking the device for a number is a fault."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS = {"aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::_unique2", "aten::masked_select"}


class Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.before = {}  # storage -> (tensor, what it held before the recording wrote to it)
        self.made = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name in ASKS:
            raise RuntimeError(f"{func._schema.name} asks the device for a number")
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._keep(value)
        result = func(*args, **kwargs)
        self.made |= {each.untyped_storage().data_ptr() for each in tree_leaves(result) if isinstance(each, torch.Tensor)} - self._given(
            args
        )
        self.calls.append((func, args, kwargs, result))
        return result

    def _given(self, args):
        return {each.untyped_storage().data_ptr() for each in tree_leaves(args) if isinstance(each, torch.Tensor)}

    def _keep(self, written):
        storage = written.untyped_storage()
        if storage.data_ptr() not in self.before and storage.data_ptr() not in self.made:
            whole = torch.empty(0, dtype=written.dtype).set_(storage)
            self.before[storage.data_ptr()] = (whole, whole.clone())

    def replay(self):
        with torch.no_grad():
            for func, args, kwargs, result in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def tape_capture(work):
    """As cuda_capture: the effects of the recording itself do not stand."""
    tape = Tape()
    with tape:
        work()
    for whole, held in tape.before.values():
        whole.copy_(held)
    return tape.replay
