"""The policy: a stock video model with its tokenizer and processor, what of it is trained, and its reference.

Full fine-tuning trains the language model (and the vision tower where asked); LoRA trains an adapter on its linear layers. The reference is
the same weights with the adapter off, or a frozen copy of what is trained."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.plugins import nearest, said
from videochat_r1.policy import adapter, fused
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.joined import Joined
from videochat_r1.policy.patches import embed_by_product
from videochat_r1.policy.processing import ADAPTER_FILE, WEIGHTS, Processing, base_of_adapter, load_processing, model_folder
from videochat_r1.policy.vision_attention import batch_windows
from videochat_r1.types import Prompt

__all__ = ["Policy", "PolicyConfig", "add_adapter", "load_policy"]

TOWER_LAYERS = r"(attn\.(qkv|proj)|mlp\.(gate_proj|up_proj|down_proj|linear_fc1|linear_fc2))"


class Policy(Processing):
    """A video model that completes prompts and learns from it. Made by `load_policy`, or around a model in memory.

    model: the stock model, or PEFT's around it. keep_reference: keep a frozen copy of what is trained, where the adapter cannot be
    turned off for it. The model stays in evaluation mode (no dropout: what samples is what is scored)."""

    def __init__(
        self, model: Any, processing: Processing, config: PolicyConfig, *, keep_reference: bool = False, adapter_is_fresh: bool = True
    ) -> None:
        super().__init__(processing.hf_config, processing.tokenizer, processing.processor, processing.extra_end_ids)
        self.model = model.eval()
        self.config = config
        self.counters: Counter[str] = Counter()
        self._in_reference = self._is_merged = False
        self.adapted = hasattr(model, "peft_config")
        self.base: Any = model.get_base_model() if self.adapted else model  # the stock ...ForConditionalGeneration
        tower = self.base.model.visual
        if not self.adapted:
            self.base.requires_grad_(True)
            tower.requires_grad_(config.train_vision)
        batch_windows(tower, config.vision_path == "fast")
        if config.vision_path == "fast":
            embed_by_product(tower)
        self.joined: Joined | None = None
        if config.kernels == "auto":
            if fused.kernels_work(self.device):
                fused.attach(self.base)
                if self.adapted:
                    self.joined = Joined(self.base.model.language_model)
            if self.adapted:
                adapter.attach(self.base)
        if config.gradient_checkpointing:
            # named anew in transformers 5.23
            enable = getattr(self.base, "activation_checkpointing_enable", None) or self.base.gradient_checkpointing_enable
            enable()
            _checkpoint_where_gradients_flow(self.base.model.language_model, tower)
        self._adapter_off_is_reference = self.adapted and adapter_is_fresh
        self._has_reference = keep_reference or self._adapter_off_is_reference
        self._frozen: dict[str, Tensor] = {}
        if keep_reference and not self._adapter_off_is_reference:
            self._frozen = {name: weight.detach().clone() for name, weight in self.parameters().items()}

    @property
    def device(self) -> torch.device:
        return next(self.base.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the base's weights; an adapter's are float32."""
        return self.base.get_input_embeddings().weight.dtype

    @property
    def trains_vision(self) -> bool:
        return any(weight.requires_grad for weight in self.base.model.visual.parameters())

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; weights that are tied appear once."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def vision(self, prompts: Sequence[Prompt]) -> list[VisionFeatures]:
        """What the tower makes of each prompt's video, counted a prompt at a time under "vision_passes".

        A trained tower, where gradients are on, takes all videos in one pass and its features carry their graph. Without a graph each
        video goes alone: it fills the device by itself, its memory is that of one, and what comes out depends on no other video, so it
        can be kept (feature_cache.py)."""
        self.counters["vision_passes"] += len(prompts)
        if prompts and torch.is_grad_enabled() and self.trains_vision:
            return self._see(prompts)
        with torch.no_grad():
            return [self._see([prompt])[0] for prompt in prompts]

    def _see(self, prompts: Sequence[Prompt]) -> list[VisionFeatures]:
        patches = torch.cat([prompt.patches.to(self.device, non_blocking=True) for prompt in prompts])
        grids = [prompt.grid_thw for prompt in prompts]
        return self.family.vision(self.base, patches, grids, use_tables=self.config.vision_path == "fast")

    @contextmanager
    def reference(self) -> Iterator[Policy]:
        """Inside, towers and head are the reference's: the adapter is off, or the frozen copy stands in for what is trained. Raises
        UsageError where no reference was kept."""
        if not self._has_reference:
            raise UsageError("This policy was loaded without a reference.", "Load it with keep_reference=True, or set the KL weight to 0.")
        if self._in_reference or self._is_merged:
            raise RuntimeError("reference() inside reference() or merged()")
        self._in_reference = True
        try:
            if self._adapter_off_is_reference:
                with adapter.off(self._adapter_layers):
                    yield self
            else:
                with self._standing_in(self._frozen):
                    yield self
        finally:
            self._in_reference = False

    @contextmanager
    def merged(self) -> Iterator[Policy]:
        """Inside, a LoRA adapter is part of the weights it adapts, so that a forward costs no more than the base's; after it the weights
        are the kept ones, bit for bit (taking a sum apart again would not give them back). Weights keep their addresses throughout, so
        that recorded steps stay valid. Nothing to do without an adapter."""
        if not self.adapted or self._is_merged:
            yield self
            return
        if self._in_reference:
            raise RuntimeError("merged() inside reference()")
        layers = self._adapter_layers
        bases = [layer.get_base_layer() for layer in layers]
        biases = [base.bias for base in bases if getattr(base, "bias", None) is not None]  # an adapter may have its own (PEFT's lora_bias)
        kept = [(tensor, tensor.data, tensor.data.clone()) for tensor in (*(base.weight for base in bases), *biases)]
        self._is_merged = True
        try:
            with torch.no_grad():
                for layer in layers:
                    adapter.merge(layer)
            yield self
        finally:
            for tensor, place, before in kept:
                tensor.data = place.copy_(before)
            for layer in layers:
                layer.merged_adapters.clear()
            self._is_merged = False

    def save(self, folder: str | Path) -> None:
        """Write a stock Hugging Face folder, or a PEFT adapter, with tokenizer and processor beside it. Raises EnvironmentFault where the
        folder cannot be written."""
        from safetensors import SafetensorError

        folder = Path(folder)
        if self._is_merged or self._in_reference:
            raise RuntimeError("save() inside merged() or reference() would not save the policy")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # False: an adapter's embeddings are the base's; PEFT would ask the hub about them
            self.model.save_pretrained(folder, **({"save_embedding_layers": False} if self.adapted else {}))
            self.processor.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        except (OSError, SafetensorError) as fault:
            what = f"The policy could not be written to {folder}: {getattr(fault, 'strerror', None) or fault}."
            raise EnvironmentFault(what, "Check the folder's owner and the space left.") from fault

    @cached_property
    def _adapter_layers(self) -> list[Any]:
        return adapter.layers_of(self.model)

    @contextmanager
    def _standing_in(self, weights: dict[str, Tensor]) -> Iterator[None]:
        trained = self.parameters()
        own = {name: trained[name].data for name in weights}
        try:
            for name, weight in weights.items():
                trained[name].data = weight
            yield
        finally:
            for name, weight in own.items():
                trained[name].data = weight


def load_policy(config: PolicyConfig, *, keep_reference: bool, seed: int = 0) -> Policy:
    """Load a model for training or evaluation. seed: of a fresh adapter's weights; torch's own random state is left as it was.

    A PEFT adapter's folder is loaded over the base it names; with a lora_rank it is trained on, without one it is merged into the base.
    Only safetensors are read, and code from a folder is never run. Raises UsageError or EnvironmentFault as `load_processing` does."""
    if not config.path:
        raise UsageError("policy.path is empty.", "Give a model's folder, or a name on the hub such as Qwen/Qwen2.5-VL-3B-Instruct.")
    processing = load_processing(config.path)
    folder = model_folder(config.path, weights=True)
    is_adapter = (folder / ADAPTER_FILE).is_file()
    base_folder = model_folder(base_of_adapter(folder), weights=True) if is_adapter else folder
    device = _device(config.device)
    if config.attention == "flex" and device.type == "cpu":
        raise UsageError('policy.attention = "flex" has no gradients on a CPU.', 'Leave it at "auto".')
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(config.dtype)
    processing.hf_config.get_text_config().attention_dropout = 0.0  # what samples must be what is scored
    model = _read_weights(base_folder, processing, dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)).to(device)
    if is_adapter:
        model = _with_adapter_of(folder, model, config)
    elif config.lora_rank:
        model = add_adapter(model, config, seed, base_path=str(base_folder.resolve()) if Path(config.path).is_dir() else config.path)
    return Policy(model, processing, config, keep_reference=keep_reference, adapter_is_fresh=not is_adapter)


def _read_weights(folder: Path, processing: Processing, dtype: torch.dtype) -> Any:
    """The stock model of a folder. transformers would draw weights that a folder lacks at random and go on: here that is a fault."""
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    if not any(folder.glob(WEIGHTS)):
        mend = "Only safetensors are read: convert the weights, or copy the *.safetensors files into the folder."
        raise EnvironmentFault(f"{folder} has no {WEIGHTS}.", mend)
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=processing.hf_config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except (OSError, SafetensorError, RuntimeError) as fault:
        mismatched = "ignore_mismatched_sizes" in str(fault)  # what transformers advises then is no help
        why = "have other sizes than its config.json says." if mismatched else f"cannot be read: {str(fault).splitlines()[0]}"
        raise EnvironmentFault(f"The weights in {folder} {why}", "Copy the folder again.") from fault
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        what = f"{folder} lacks {len(missing)} of the model's weights, {missing[0]} among them."
        raise EnvironmentFault(what, "Copy all of the model's *.safetensors files into the folder.")
    return model


def add_adapter(model: Any, config: PolicyConfig, seed: int, *, base_path: str | None = None) -> Any:
    """PEFT's model around a stock one, with a fresh LoRA adapter that changes nothing yet. Raises UsageError for targets that no linear
    layer has."""
    from peft import LoraConfig, get_peft_model

    known = sorted(
        {name.rsplit(".", 1)[-1] for name, module in model.model.language_model.named_modules() if isinstance(module, nn.Linear)}
    )
    for target in config.lora_targets:
        if target not in known:
            raise UsageError(f"policy.lora_targets: no linear layer is named {target!r}.", nearest(target, known))
    targets = rf".*language_model\.layers\.\d+\.\w+\.({'|'.join(map(re.escape, config.lora_targets))})"
    if config.train_vision:
        targets = rf"{targets}|.*visual\.blocks\.\d+\.{TOWER_LAYERS}"
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    if base_path is not None:
        model.name_or_path = base_path  # what the adapter will name as its base
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _peft_among_its_versions():
        torch.manual_seed(seed)
        return get_peft_model(model, lora)


def _with_adapter_of(folder: Path, model: Any, config: PolicyConfig) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (folder / "adapter_model.safetensors").is_file():
        raise EnvironmentFault(
            f"{folder} has no adapter_model.safetensors.", "Only safetensors are read: save the adapter again with safe_serialization."
        )
    try:
        with _peft_among_its_versions():
            adapted = PeftModel.from_pretrained(
                model, folder, is_trainable=config.lora_rank > 0, local_files_only=True, use_safetensors=True
            )
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as fault:
        raise EnvironmentFault(f"The adapter in {folder} cannot be read: {said(fault)}.", "Copy the folder again.") from fault
    rank = getattr(adapted.peft_config["default"], "r", 0)
    if not config.lora_rank:
        return adapted.merge_and_unload()
    if rank != config.lora_rank:
        raise UsageError(
            f"policy.lora_rank is {config.lora_rank}, but the adapter in {folder} has rank {rank}.",
            f"Set it to {rank}, or to 0 to merge the adapter.",
        )
    return adapted


@contextmanager
def _peft_among_its_versions() -> Iterator[None]:
    """PEFT up to 0.21 asks transformers for a property by its old name, which warns; and it loads torchao where that is installed, which
    makes PyTorch 2.14 log about torchao's own enumerations."""
    log = logging.getLogger("torch.utils._pytree")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
            yield
    finally:
        log.setLevel(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as fault:
        raise UsageError(f"policy.device: {name!r} is no device.", "Give auto, cpu, cuda or cuda:N.") from fault
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            "policy.device asks for a GPU, but none can be used here.", "Set it to auto or cpu, or install a torch for this GPU's driver."
        )
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # Triton starts its kernels on the current one
    return device


def _checkpoint_where_gradients_flow(*towers: nn.Module) -> None:
    """Stock layers checkpoint while `training` is set, and then drop the cache that a rollout needs. We set it on the layers themselves
    (not on what is in them, where it would mean dropout) for each forward that carries a graph."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    for tower in towers:
        layers: list[nn.Module] = [module for module in tower.modules() if isinstance(module, GradientCheckpointingLayer)]

        def switch(module: nn.Module, args: Any, kwargs: Any, layers: list[nn.Module] = layers) -> None:
            for layer in layers:
                layer.training = torch.is_grad_enabled() and kwargs.get("past_key_values") is None

        tower.register_forward_pre_hook(switch, with_kwargs=True)
