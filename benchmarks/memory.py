"""The memory of our step at true geometry, tensor by tensor, on a machine without a GPU.

    python -m benchmarks.memory --geometry 3b                                               # LoRA 64, P 3.8k, C 256, 1 and 4 prompts
    python -m benchmarks.memory --geometry 3b --lora-rank 0 --optimizer adamw_8bit          # all weights of 3B
    python -m benchmarks.memory --geometry 7b --prompt-tokens 16556 --token-budget 32768    # videos of 16k tokens

The trainer's own parts take two steps on tensors that have shapes and no numbers (PyTorch's "meta" device), by the ways that they go on a
GPU. Every storage counts from when it is made until it is freed, in the blocks of 512 bytes that the CUDA allocator gives out. A step of 7B
takes seconds. The second step is the one that is told: the optimizer's state is there. Beside it stands what `videochat-r1 plan` foretells.

Not counted: the CUDA context, libraries' workspaces, gaps between blocks, what recorded steps hold, and what an operator makes and frees
inside itself. The 8-bit optimizers' step is counted as it runs uncompiled, one weight after another: an upper bound."""

from __future__ import annotations

import argparse
import gc
import importlib
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from benchmarks.bench import Record, among, arguments, begin, command
from benchmarks.models import GEOMETRIES, random_policy, random_prompt, video_tokens
from benchmarks.step import add_step_options, policy_settings, said_of_settings, settings_of, vars_of
from benchmarks.ways import PHASES, WAYS
from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.grpo import optimizer as optimizers
from videochat_r1.policy import flash, fused, products, vision_attention
from videochat_r1.policy.memory import CONTEXT, estimate, peaks
from videochat_r1.rollout import _drawing, native
from videochat_r1.types import Completion

SHAPES = torch.device("meta")
ATTENTION = "segments"
BLOCK = 512  # bytes: what the CUDA allocator rounds up to
GIB = 2.0**30
PLANNED = {"vision": "vision", "rollout": "rollout", "reference": "update", "policy": "update", "optimizer": "optimizer"}
COLUMNS: dict[str, Any] = {
    "way": lambda row: row["way"],
    "geometry": lambda row: row["geometry"],
    "trained": lambda row: f"LoRA {row['lora_rank']}" if row["lora_rank"] else "all weights",
    "optimizer": lambda row: row["optimizer"],
    "P": lambda row: row["prompt_tokens"],
    "C": lambda row: row["completion_tokens"],
    "prompts": lambda row: row["prompts"],
    **{f"{phase} GiB": (lambda row, phase=phase: row["gib"].get(phase)) for phase in PHASES},
    "activations GiB": lambda row: row["activation_gib"],
    "peak GiB": lambda row: row["peak_gib"],
    "planned GiB": lambda row: row["planned_gib"],
}


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "memory")
    parser.set_defaults(device="cpu")
    parser.add_argument("--geometry", default="3b", choices=list(GEOMETRIES))
    parser.add_argument("--only", type=among("D", "C"), default=["D"], help="ours (D), and with sharing off (C)")
    add_step_options(parser)
    chosen = parser.parse_args(argv)
    begin(chosen)
    if dict(chosen.set).get("attention", ATTENTION) != ATTENTION:
        raise UsageError(f"--set attention: what is counted here is {ATTENTION}, the usual one of a GPU.", "Leave it out.")
    geometry = GEOMETRIES[chosen.geometry]
    record = Record("memory", chosen, torch.device("cpu"), chosen.geometry, vars_of(chosen))
    record.note(card="shapes alone, no card")
    for prompt_tokens in chosen.prompt_tokens or [geometry.prompt_tokens]:
        for tokens in chosen.completion_tokens or [geometry.completion_tokens]:
            for count in chosen.prompts:
                for way in chosen.only:
                    record.add(one_row(chosen, way, prompt_tokens, tokens, count))
    record.end(COLUMNS)
    return record


def one_row(chosen: argparse.Namespace, name: str, prompt_tokens: int, tokens: int, count: int) -> dict[str, Any]:
    """The fullest moment of each phase of a step, all that lasts being there already, and what is planned for ours."""
    geometry, step = GEOMETRIES[chosen.geometry], settings_of(chosen, tokens)
    settings = policy_settings(chosen) | {"attention": ATTENTION}
    settings["keep_reference"] = settings.get("keep_reference", False) and step.kl_weight > 0
    with as_on_a_card() as account, said_of_settings():
        policy = random_policy(geometry, SHAPES, **settings)
        way = WAYS[name](policy, step)
        way.engine = native.NativeEngine(policy, capture=lambda work: lambda: None, joins=False)
        for number in range(2):
            phases = Phases(account)
            prompts = [random_prompt(policy, geometry, prompt_tokens, number * count + k) for k in range(count)]
            way.step(prompts, phases)  # type: ignore[arg-type]
        del way
    run = {"prompt_tokens": len(prompts[0]), "video_tokens": video_tokens(prompts[0]), "completion_tokens": tokens}
    parts = estimate(
        geometry.sizes,
        policy.config.model_copy(update={"device": "cuda"}),
        **run,
        group_size=step.group,
        prompts_per_step=count,
        batch_prompts=count,
        token_budget=step.token_budget,
        keeps_reference=step.kl_weight > 0,
        optimizer=step.optimizer,
    )
    foretold = peaks([part for part in parts if part.name != CONTEXT])
    found = {phase: use.fullest / GIB for phase, use in phases.found.items()}
    return {
        "way": name,
        "geometry": chosen.geometry,
        "lora_rank": policy.config.lora_rank,
        "optimizer": step.optimizer,
        **run,
        "prompts": count,
        "group": step.group,
        "token_budget": step.token_budget,
        "gib": found,
        "peak_gib": max(found.values()),
        "activation_gib": max(use.fullest - use.before for phase, use in phases.found.items() if phase in ("reference", "policy")) / GIB,
        "planned": {phase: foretold[PLANNED[phase]] / GIB for phase in found} if name == "D" else None,
        "planned_gib": max(foretold.values()) / GIB if name == "D" else None,
    }


# -- the account ----------------------------------------------------------------------------------------------------------------------


class Account(TorchDispatchMode):
    """Inside, counts the bytes of all storages without numbers, from when an operator makes them until nothing holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.fullest = 0
        self._sizes: dict[int, int] = {}
        self._marked: dict[int, int] = {}  # of a storage of true and false that was copied from a CPU: how many are true

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if operator is torch.ops.aten.index.Tensor and (count := self._chosen(args)) is not None:
            made = args[0].new_empty(count, *args[0].shape[args[1][0].dim() :])
        else:
            made = operator(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.device == SHAPES and not is_traceable_wrapper_subclass(each):
                self._hold(each, args)
        return made

    def _hold(self, made: Tensor, args: tuple[Any, ...]) -> None:
        storage = made.untyped_storage()
        place = storage._cdata
        if place in self._sizes:
            return
        self._sizes[place] = size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.live += size
        self.fullest = max(self.fullest, self.live)
        if made.dtype == torch.bool and args and isinstance(args[0], Tensor) and args[0].device.type == "cpu":
            self._marked[place] = int(args[0].sum())
        weakref.finalize(storage, self._drop, place)

    def _drop(self, place: int) -> None:
        self.live -= self._sizes.pop(place, 0)
        self._marked.pop(place, None)

    def _chosen(self, args: tuple[Any, ...]) -> int | None:
        """How many rows x[mask] has, where the mask's numbers were seen on their way from the CPU."""
        masks = [each for each in args[1] if each is not None]
        is_mask = len(args[1]) == 1 and len(masks) == 1 and masks[0].dtype == torch.bool
        return self._marked.get(masks[0].untyped_storage()._cdata) if is_mask else None


@dataclass(frozen=True)
class Use:
    """Bytes when a phase began, and at its fullest moment."""

    before: int
    fullest: int


class Phases:
    """Stands where a clock stands: `with phases("policy"): ...`."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.found: dict[str, Use] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        gc.collect()  # what only cycles hold would count
        self.account.fullest = before = self.account.live
        yield
        self.found[phase] = Use(before, self.account.fullest)


@contextmanager
def as_on_a_card() -> Iterator[Account]:
    """Inside, what asks whether it is on a GPU is told so by tensors without numbers, kernels are not started, and what waits for a number
    is given one. Raises EnvironmentFault where Triton is not installed."""
    try:
        kernel = importlib.import_module("triton.runtime.jit").JITFunction
    except ImportError:
        raise EnvironmentFault("The account needs Triton, which comes with PyTorch for CUDA.", "pip install triton") from None
    account = Account()
    replaced = [
        (kernel, "run", lambda *args, **kwargs: None),
        (fused, "kernels_work", lambda device: True),
        (flash, "kernels_work", lambda device: True),
        (flash, "flash_kernel", lambda device, dtype, size: flash.FLASH_CUDA),
        (vision_attention, "varlen_for", lambda query: vision_attention.varlen_by_operator),
        (vision_attention, "longest_window", lambda bounds: 1),
        (products, "gives_float32", lambda device: True),
        (torch, "is_autocast_enabled", lambda device=None: False),
        (importlib.import_module("torch.optim.optimizer"), "_get_foreach_kernels_supported_devices", lambda: ["cuda", "meta"]),
        (optimizers, "_clipped", lambda weights, limit: 1.0),
        (_drawing.Drawing, "look", lambda drawing, count: torch.ones(count, drawing.per_prompt, dtype=torch.bool)),
        (_drawing.Drawing, "completions", _as_long_as_may_be),
    ]
    with ExitStack() as stack:
        for owner, name, stand_in in replaced:
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        gc.freeze()  # what was there before need not be looked through at each phase
        stack.callback(gc.unfreeze)
        stack.enter_context(account)
        yield account


def _as_long_as_may_be(drawing: _drawing.Drawing, count: int) -> list[list[Completion]]:
    tokens = drawing.sampling.max_tokens
    one = Completion(ids_T=torch.zeros(tokens, dtype=torch.int64), logprobs_T=torch.zeros(tokens), text="", stop="length")
    return [[one] * drawing.per_prompt for _ in range(count)]


if __name__ == "__main__":
    main()
