"""What a frozen vision tower made of a video, kept for the next time the same pixels come: in memory, then on disk, each under a budget.

A video is known by its content: the pixels as the model sees them, their grid, and a fingerprint of all else that the features depend on
(the tower's weights, how pixels become patches, the device and the versions that compute). Features of one video depend on no other
(Policy.vision), so what comes from the cache is what the tower would give, bit for bit. A trained tower is never served.

Each tier takes videos while it has room and then stays as it is. In epochs that are drawn without replacement every video comes once an
epoch: what fits is hit every time, where dropping the least recent would have dropped it just before it is asked for."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.types import Prompt

if TYPE_CHECKING:
    from videochat_r1.policy.model import Policy

MIB = 1 << 20
NOTES = logging.getLogger("videochat_r1")


class FeatureCache:
    """The tower's features of one policy. The budgets are those of its config; with both at 0, or a trained tower, every look is a pass.

    counters: "hits" (in memory), "hits_disk", "misses", "corrupt" (files that were not what was written: counted as misses too)."""

    def __init__(self, policy: Policy) -> None:
        config = policy.config
        self.policy = policy
        self.counters: Counter[str] = Counter()
        self.memory_budget, self.disk_budget = config.feature_cache_mb * MIB, config.feature_disk_mb * MIB
        self.folder = Path(config.feature_dir).expanduser() if config.feature_dir and config.feature_disk_mb else None
        self.enabled = not policy.trains_vision and (self.memory_budget > 0 or self.folder is not None)
        self.memory_bytes = 0
        self._memory: dict[str, VisionFeatures] = {}
        self._told: dict[str, int] = {}

    def look(self, prompts: Sequence[Prompt]) -> list[VisionFeatures]:
        """What the tower makes of each prompt's video, on the policy's device; a pass only for what is not kept."""
        if not self.enabled:
            return self.policy.vision(prompts)
        return [self._look(prompt) for prompt in prompts]

    def row(self) -> dict[str, float]:
        """For a row of metrics: what was hit and missed since the last call, and bytes held. Empty where nothing is kept."""
        if not self.enabled:
            return {}
        names = ("hits", "hits_disk", "misses", "corrupt")
        new = {f"cache/{name}": self.counters[name] - self._told.get(name, 0) for name in names}
        self._told = dict(self.counters)
        return {**new, "cache/memory_mb": self.memory_bytes / MIB, "cache/disk_mb": self.disk_bytes / MIB if self.folder else 0.0}

    def _look(self, prompt: Prompt) -> VisionFeatures:
        key = self.key(prompt)
        kept = self._memory.get(key)
        if kept is not None:
            self.counters["hits"] += 1
            return _on(kept, self.policy.device)
        kept = self._read(key)
        if kept is not None:
            self.counters["hits_disk"] += 1
            self._remember(key, kept)
            return _on(kept, self.policy.device)
        self.counters["misses"] += 1
        [features] = self.policy.vision([prompt])
        host = _on(features, torch.device("cpu"))
        self._remember(key, host)
        self._write(key, host)
        return features

    def key(self, prompt: Prompt) -> str:
        """Of the video that a prompt shows: sha256 of its pixels, its grid and the fingerprint, in hex."""
        frames = prompt.clip.frames_NCHW
        digest = hashlib.sha256(f"{self.fingerprint}{tuple(frames.shape)}{tuple(prompt.grid_thw)}".encode())
        digest.update(_bytes_of(frames))
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Of all but the video that features depend on, in hex."""
        import transformers

        policy = self.policy
        tower, video = policy.base.model.visual, policy.processor.video_processor
        device = torch.cuda.get_device_name(policy.device) if policy.device.type == "cuda" else policy.device.type
        settings = [getattr(video, name, None) for name in ("rescale_factor", "do_rescale", "image_mean", "image_std", "do_normalize")]
        about = (
            torch.__version__,
            transformers.__version__,
            device,
            policy.config.vision_path,
            policy.config.kernels,
            str(tower.config.to_dict()),
            settings,
        )
        digest = hashlib.sha256(repr(about).encode())
        for name, weight in tower.state_dict().items():
            digest.update(f"{name}{weight.dtype}{tuple(weight.shape)}".encode())
            digest.update(_bytes_of(weight))
        return digest.hexdigest()

    # -- memory

    def _remember(self, key: str, features: VisionFeatures) -> None:
        size = _size(features)
        if self.memory_bytes + size <= self.memory_budget:
            self._memory[key] = features
            self.memory_bytes += size

    # -- disk

    @cached_property
    def _place(self) -> Path:
        assert self.folder is not None
        return self.folder / self.fingerprint[:16]

    @cached_property
    def _files(self) -> dict[Path, int]:
        """Sizes of all kept files, of other towers too, the oldest first."""
        assert self.folder is not None
        found = []
        for path in self.folder.glob("*/*.safetensors"):
            try:
                found.append((path.stat().st_mtime_ns, path, path.stat().st_size))
            except OSError:
                continue  # another run has just removed it
        return {path: size for _, path, size in sorted(found)}

    @property
    def disk_bytes(self) -> int:
        return sum(self._files.values()) if self.folder else 0

    def _read(self, key: str) -> VisionFeatures | None:
        if self.folder is None:
            return None
        path = self._place / f"{key}.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                tensors = [file.get_tensor(name) for name in sorted(file.keys())]
                stated = (file.metadata() or {}).get("sha256")
            if not tensors or stated != _checksum(tensors):
                raise ValueError("not what was written")
        except (OSError, ValueError, SafetensorError):
            self.counters["corrupt"] += 1
            self._remove(path)
            return None
        return VisionFeatures(embeds_VD=tensors[0], deepstack_VD=tuple(tensors[1:]))

    def _write(self, key: str, features: VisionFeatures) -> None:
        """Under a name of its own, then renamed: a file is there whole or not at all. A disk that refuses ends the tier, not the run."""
        if self.folder is None or not self._make_room(_size(features)):
            return
        tensors = _tensors(features)
        path = self._place / f"{key}.safetensors"
        draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            named = {f"{index:02d}": tensor.contiguous() for index, tensor in enumerate(tensors)}
            save_file(named, draft, metadata={"sha256": _checksum(tensors)})
            size = draft.stat().st_size
            draft.replace(path)
            self._files[path] = size
        except (OSError, SafetensorError) as fault:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            NOTES.warning("Vision features are no longer kept in %s: %s.", self.folder, fault)
            self.folder = None

    def _make_room(self, size: int) -> bool:
        """Whether a file of this size fits. Features of other towers, the oldest first, give way; this one's own stay."""
        if size > self.disk_budget:
            return False
        others = [path for path in self._files if path.parent != self._place]
        while others and self.disk_bytes + size > self.disk_budget:
            self._remove(others.pop(0))
        return self.disk_bytes + size <= self.disk_budget

    def _remove(self, path: Path) -> None:
        self._files.pop(path, None)
        try:
            path.unlink(missing_ok=True)
        except OSError as fault:
            NOTES.warning("%s cannot be removed: %s.", path, fault.strerror)


def _tensors(features: VisionFeatures) -> list[Tensor]:
    return [features.embeds_VD, *features.deepstack_VD]


def _size(features: VisionFeatures) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(features))


def _on(features: VisionFeatures, device: torch.device) -> VisionFeatures:
    embeds, *deep = (tensor.detach().to(device, non_blocking=device.type == "cuda") for tensor in _tensors(features))
    return VisionFeatures(embeds_VD=embeds, deepstack_VD=tuple(deep))


def _bytes_of(tensor: Tensor) -> Any:
    """What a hash takes of a tensor: its numbers as they lie in memory, not copied where they are on the CPU in a row."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _checksum(tensors: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()
