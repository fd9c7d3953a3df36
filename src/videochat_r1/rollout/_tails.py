"""The attention of decoding: prompts' keys and values once, and those of the tails that grow on them.

Axes: N prompts, G tails of each, B = N x G rows, K key/value heads, R query heads of each, P prompt tokens, C capacity of a tail, D head
size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videochat_r1.policy.attention import Backend, SharedRow

FIRST_CAPACITY = 64


class PromptRow:
    """A layout for the prefill: prompts one after another in a row, each causal over itself; it keeps every layer's keys and values, padded
    to the longest prompt."""

    def __init__(self, lengths: Sequence[int], device: torch.device, backend: Backend = "segments") -> None:
        self.row = SharedRow(lengths, [()] * len(lengths), device, backend)
        self.lengths = tuple(lengths)
        self.keys_NKPD: list[Tensor] = []
        self.values_NKPD: list[Tensor] = []
        starts_N1 = torch.tensor([place.start for place in self.row.places])[:, None]
        steps_P = torch.arange(max(lengths))
        self.padding_NP = (steps_P >= torch.tensor(lengths)[:, None]).to(device)
        self._index_NP = torch.where(steps_P < torch.tensor(lengths)[:, None], starts_N1 + steps_P, starts_N1).to(device)

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        assert layer == len(self.keys_NKPD), "a prompt is read once, layer by layer"
        self.keys_NKPD.append(k_BKLD[0][:, self._index_NP].transpose(0, 1).contiguous())
        self.values_NKPD.append(v_BKLD[0][:, self._index_NP].transpose(0, 1).contiguous())
        return self.row.attend(layer, q_BHLD, k_BKLD, v_BKLD, scale)


class Tails:
    """A layout for decoding: N x G tails in step, one token of each a forward. The queries of a prompt's tails are folded into the rows of
    one product with the prompt's keys, which are never copied. A tail's own keys stand in a buffer that doubles when it is full.

    Rows of a forward are the tails prompt by prompt: row n * G + g."""

    def __init__(self, prompts: PromptRow, per_prompt: int) -> None:
        self.count, self.per_prompt, self.filled = len(prompts.lengths), per_prompt, 0
        self.prompt_keys, self.prompt_values = prompts.keys_NKPD, prompts.values_NKPD
        self.padding_NP = prompts.padding_NP if len(set(prompts.lengths)) > 1 else None
        shape = (self.count * per_prompt, self.prompt_keys[0].shape[1], FIRST_CAPACITY, self.prompt_keys[0].shape[3])  # rows, K, C, D
        self.keys = [keys.new_empty(shape) for keys in self.prompt_keys]
        self.values = [values.new_empty(shape) for values in self.prompt_values]

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        rows, heads, _, size = q_BHLD.shape
        kv_heads = k_BKLD.shape[1]
        repeats = heads // kv_heads
        n, g, seen = self.count, self.per_prompt, self.filled + 1
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.filled] = k_BKLD[:, :, 0]
        values[:, :, self.filled] = v_BKLD[:, :, 0]
        q_BKRD = (q_BHLD * scale).reshape(rows, kv_heads, repeats, size)
        folded = q_BKRD.view(n, g, kv_heads, repeats, size).transpose(1, 2).reshape(n, kv_heads, g * repeats, size)
        shared = folded @ self.prompt_keys[layer].transpose(2, 3)
        if self.padding_NP is not None:
            shared = shared.masked_fill(self.padding_NP[:, None, None], float("-inf"))
        own = q_BKRD @ keys[:, :, :seen].transpose(2, 3)
        own = own.view(n, g, kv_heads, repeats, seen).transpose(1, 2).reshape(n, kv_heads, g * repeats, seen)
        weights = torch.cat([shared, own], -1).softmax(-1, dtype=torch.float32).to(q_BHLD.dtype)
        prompt = shared.shape[-1]
        out = weights[..., :prompt] @ self.prompt_values[layer]
        own_weights = weights[..., prompt:].view(n, kv_heads, g, repeats, seen).transpose(1, 2).reshape(rows, kv_heads, repeats, seen)
        from_own = own_weights @ values[:, :, :seen]
        out = out.view(n, kv_heads, g, repeats, size).transpose(1, 2).reshape(rows, kv_heads, repeats, size) + from_own
        return out.reshape(rows, 1, heads, size)

    def advance(self) -> None:
        """Call after each forward: its token is now part of every tail."""
        self.filled += 1
        if self.filled == self.keys[0].shape[2]:
            for buffers in (self.keys, self.values):
                for layer, full in enumerate(buffers):
                    wider = full.new_empty(*full.shape[:2], 2 * self.filled, full.shape[3])
                    wider[:, :, : self.filled] = full
                    buffers[layer] = wider

    def keep(self, prompts: Sequence[int], rows: Tensor) -> None:
        """Go on with these prompts alone, by index, and these rows (N x G of them, prompt by prompt)."""
        if list(prompts) != list(range(self.count)):
            index = torch.tensor(prompts, device=rows.device)
            self.prompt_keys = [keys[index] for keys in self.prompt_keys]
            self.prompt_values = [values[index] for values in self.prompt_values]
            self.padding_NP = self.padding_NP[index] if self.padding_NP is not None else None
        self.count, self.per_prompt = len(prompts), len(rows) // len(prompts)
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
