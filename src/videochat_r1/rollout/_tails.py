"""The attention of decoding: prompts' keys and values once, and those of the tails that grow on them.

Axes: N prompts, G tails of each, B = N x G rows, K key/value heads, R query heads of each, P prompt tokens, C capacity of a tail, D head
size, W prompt and tail slots that a query reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from videochat_r1.policy.attention import Backend, SharedRow
from videochat_r1.policy.fused import decode_kernel
from videochat_r1.policy.products import wide_product

FIXED_PROMPT = 512
FIXED_TAIL = 64
"""With fixed shapes prompts are padded to a multiple of the one, and tails are read to a power of two times the other."""


class PromptRow:
    """A layout for the prefill: prompts one after another in a row, each causal over itself; every layer's keys and values go to `into`,
    padded to the longest prompt (padding repeats a token of the row: a mask hides it)."""

    def __init__(self, lengths: Sequence[int], device: torch.device, backend: Backend = "segments") -> None:
        self.row = SharedRow(lengths, [()] * len(lengths), device, backend)
        self.lengths = tuple(lengths)
        self.into: Tails | None = None
        starts_N1 = torch.tensor([place.start for place in self.row.places])[:, None]
        steps_P = torch.arange(max(lengths))
        self.index_NP = torch.where(steps_P < torch.tensor(lengths)[:, None], starts_N1 + steps_P, starts_N1)  # on the CPU

    @cached_property
    def _index_NP(self) -> Tensor:
        return self.index_NP.to(self.row.device)

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        assert self.into is not None
        self.into.read(layer, k_BKLD[0][:, self._index_NP].transpose(0, 1), v_BKLD[0][:, self._index_NP].transpose(0, 1))
        return self.row.attend(layer, q_BHLD, k_BKLD, v_BKLD, scale)


class Tails:
    """A layout for decoding: N x G tails in step, one token of each a forward. The queries of a prompt's tails are folded into the rows of
    one product with the prompt's keys, which are never copied. Rows of a forward are the tails prompt by prompt: row n * G + g.

    prompts, rows, prompt_tokens, tokens: the most of each that a batch may have. All buffers are made once and keep their addresses.
    fixed: shapes change in a few large steps and nothing depends on a number of the host, so that a step can be captured and replayed;
    else every step reads exactly the slots that are filled. by_kernel: with fixed shapes, by our own kernel where it runs."""

    def __init__(
        self, prompts: int, rows: int, prompt_tokens: int, tokens: int, device: torch.device, *, fixed: bool, by_kernel: bool = True
    ) -> None:
        prompt_tokens = _multiple(prompt_tokens, FIXED_PROMPT) if fixed else prompt_tokens
        self.most = (prompts, rows, prompt_tokens, tokens)
        self.fixed, self.device = fixed, device
        self._prompt_keys: list[Tensor] = []  # flat; `prompt_slots` says how they are cut
        self._prompt_values: list[Tensor] = []
        self._keys: list[Tensor] = []  # (rows, K, C, D)
        self._values: list[Tensor] = []
        self._padding = torch.zeros(prompts * prompt_tokens, dtype=torch.bool, device=device)
        self._slot_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._lengths = torch.zeros(prompts, dtype=torch.int32, device=device)
        self._kernel = decode_kernel(device) if fixed and by_kernel else None
        self._hidden_N1W: Tensor | None = None
        self.count = self.per_prompt = self.filled = self.prompt_slots = 0
        self._is_ragged = False

    def begin(self, lengths: Sequence[int], per_prompt: int) -> None:
        """Take up a batch: prompts of these lengths, to be read by a prefill next. Raises ValueError where it is larger than the most."""
        given = (len(lengths), len(lengths) * per_prompt, max(lengths))
        if any(number > most for number, most in zip(given, self.most, strict=False)):
            raise ValueError(f"a batch of {given} prompts, rows and prompt tokens for buffers of {self.most}")
        self.count, self.per_prompt, self.filled = len(lengths), per_prompt, 0
        self.prompt_slots = _multiple(max(lengths), FIXED_PROMPT) if self.fixed else max(lengths)
        self._is_ragged = self.fixed or len(set(lengths)) > 1
        self._slot_1.zero_()
        self._lengths[: self.count] = torch.tensor(lengths, dtype=torch.int32).to(self.device)
        longer_NP = torch.arange(self.prompt_slots) >= torch.tensor(lengths)[:, None]
        self._padding[: longer_NP.numel()] = longer_NP.flatten().to(self.device)

    def read(self, layer: int, keys_NKPD: Tensor, values_NKPD: Tensor) -> None:
        """Keep what a layer makes of the prompts."""
        prompts, rows, prompt_tokens, tokens = self.most
        kv_heads, size = keys_NKPD.shape[1], keys_NKPD.shape[3]
        if self._kernel is not None and not self._kernel.is_known(size):
            self._kernel = None
        if layer == len(self._keys):
            # Zeros: a slot that is read before it is filled weighs nothing, but nothing times infinity would be no number.
            for buffers in (self._prompt_keys, self._prompt_values):
                buffers.append(keys_NKPD.new_zeros(prompts * kv_heads * prompt_tokens * size))
            for buffers in (self._keys, self._values):
                make = keys_NKPD.new_zeros if self.fixed else keys_NKPD.new_empty
                buffers.append(make(rows, kv_heads, tokens, size))
        for flat, given in ((self._prompt_keys[layer], keys_NKPD), (self._prompt_values[layer], values_NKPD)):
            self._cut(flat, kv_heads, size)[:, :, : given.shape[2]] = given

    def _cut(self, flat: Tensor, kv_heads: int, size: int) -> Tensor:
        """The running prompts' part of a flat buffer, (N, K, P, D)."""
        return flat[: self.count * kv_heads * self.prompt_slots * size].view(self.count, kv_heads, self.prompt_slots, size)

    @property
    def span(self) -> int:
        """Slots of the tails that the next step reads."""
        if not self.fixed:
            return self.filled + 1
        return min(FIXED_TAIL << (self.filled // FIXED_TAIL).bit_length(), self.most[3])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What a captured step depends on: prompts, tails of each, prompt slots; tail slots where no kernel reads how many there are."""
        return self.count, self.per_prompt, self.prompt_slots, self.span if self._kernel is None else 0

    def look(self) -> None:
        """Call before each forward: which slots it must not see."""
        self._hidden_N1W = None
        if self._is_ragged and self._kernel is None:
            padding_NP = self._padding[: self.count * self.prompt_slots].view(self.count, -1)
            later_C = torch.arange(self.span, device=self.device) > self._slot_1 if self.fixed else padding_NP.new_zeros(self.span)
            self._hidden_N1W = torch.cat([padding_NP, later_C.expand(self.count, -1)], 1)[:, None]

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        rows, heads, _, size = q_BHLD.shape
        kv_heads = k_BKLD.shape[1]
        repeats = heads // kv_heads
        n, g, span, slots = self.count, self.per_prompt, self.span, self.prompt_slots
        if self._kernel is not None:
            prompt_states = (self._cut(buffers[layer], kv_heads, size) for buffers in (self._prompt_keys, self._prompt_values))
            tail_states = (buffers[layer][:rows] for buffers in (self._keys, self._values))
            given = (x_BHLD.reshape(rows, -1, size) for x_BHLD in (q_BHLD, k_BKLD, v_BKLD))
            out_BHD: Tensor = self._kernel.attend_step(*given, *prompt_states, self._lengths[:n], *tail_states, self._slot_1, scale)
            return out_BHD[:, None]
        own_keys, own_values = (self._write(buffers[layer], new) for buffers, new in ((self._keys, k_BKLD), (self._values, v_BKLD)))
        q_bRD = q_BHLD.reshape(rows * kv_heads, repeats, size)
        folded = q_bRD.view(n, g, kv_heads, repeats, size).transpose(1, 2).reshape(n * kv_heads, g * repeats, size)
        prompt_keys = self._cut(self._prompt_keys[layer], kv_heads, size).flatten(0, 1)
        shared = wide_product(folded, prompt_keys.transpose(1, 2)).view(n, kv_heads * g * repeats, slots)
        own = wide_product(q_bRD, own_keys[:, :span].transpose(1, 2)).view(n, g, kv_heads, repeats, span)
        scores_nQW = torch.cat([shared, own.transpose(1, 2).reshape(n, kv_heads * g * repeats, span)], -1).mul_(scale)
        if self._hidden_N1W is not None:
            scores_nQW.masked_fill_(self._hidden_N1W, float("-inf"))
        weights_nQW = scores_nQW.softmax(-1).to(q_BHLD.dtype)
        prompt_values = self._cut(self._prompt_values[layer], kv_heads, size)
        from_shared = self._over_prompt(weights_nQW[..., :slots].unflatten(1, (kv_heads, -1)), prompt_values)
        own_weights = weights_nQW[..., slots:].view(n, kv_heads, g, repeats, span).transpose(1, 2).reshape(rows * kv_heads, repeats, span)
        from_own = wide_product(own_weights, own_values[:, :span]).view(n, g, kv_heads, repeats, size)
        out = from_shared.view(n, kv_heads, g, repeats, size).transpose(1, 2) + from_own
        return out.to(q_BHLD.dtype).reshape(rows, 1, heads, size)

    def _write(self, buffer: Tensor, new_BK1D: Tensor) -> Tensor:
        """Put the token of this step into its slot; the running rows' buffer as (B x K, C, D)."""
        running = buffer[: new_BK1D.shape[0]]
        if self.fixed:
            running.index_copy_(2, self._slot_1, new_BK1D)
        else:
            running[:, :, self.filled] = new_BK1D[:, :, 0]
        return running.flatten(0, 1)

    def _over_prompt(self, weights_nKQP: Tensor, values_nKPD: Tensor) -> Tensor:
        """The prompts' values by their weights, (N, K, Q, D) float32. With fixed shapes the sum over a prompt is cut into parts that run
        side by side: one long sum for each of a few key/value heads would leave most of a GPU idle."""
        n, kv_heads, slots, size = values_nKPD.shape
        parts = slots // FIXED_PROMPT if self.fixed else 1
        cut = weights_nKQP.unflatten(3, (parts, -1)).transpose(2, 3).reshape(n * kv_heads * parts, -1, slots // parts)
        summed = wide_product(cut, values_nKPD.reshape(n * kv_heads * parts, slots // parts, size))
        return summed.view(n, kv_heads, parts, -1, size).sum(2)

    def advance(self) -> None:
        """Call in each step after its forward: its token is now part of every tail. The host counts with `filled` on its own."""
        self._slot_1 += 1

    def keep(self, prompts: Sequence[int], rows: Tensor) -> None:
        """Go on with these prompts alone, by index, and these rows (N x G of them, prompt by prompt), at the front of the same buffers."""
        if list(prompts) != list(range(self.count)):
            index = torch.tensor(prompts, device=rows.device)
            states = self.prompt_slots * self._keys[0].shape[1] * self._keys[0].shape[3]
            for flat, each in [
                *((flat, states) for flat in (*self._prompt_keys, *self._prompt_values)),
                (self._padding, self.prompt_slots),
                (self._lengths, 1),
            ]:
                running = flat[: self.count * each].view(self.count, each)
                running[: len(prompts)] = running[index]
        for buffer in (*self._keys, *self._values):
            buffer[: len(rows), :, : self.filled] = buffer[rows, :, : self.filled]
        self.count, self.per_prompt = len(prompts), len(rows) // len(prompts)


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of
