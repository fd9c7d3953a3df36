"""What was seen of videos and is kept: decoded frames by file, second and size, and what the vision tower made of each moment.

Rounds of one question, and questions on one video, decode and encode each moment once. That a moment (one temporal patch of frames) can be
encoded by itself is the families' own doing: their towers attend within a moment and never across. Both stores are bounded in bytes and
let go of what was used least recently."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from videochat_r1.policy.families.base import VisionFeatures
from videochat_r1.policy.model import Policy
from videochat_r1.types import Clip, Prompt
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.decode import decode
from videochat_r1.video.sampling import FramePlan, VideoInfo

Kept = TypeVar("Kept")
GIB = 2**30


class Store(Generic[Kept]):
    """A mapping bounded in bytes; the least recently used goes first. Safe in several threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, tuple[int, Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: Hashable, value: Kept, size: int) -> None:
        with self._lock:
            if key in self._kept or size > self.most_bytes:
                return
            self._kept[key] = (size, value)
            self.bytes += size
            while self.bytes > self.most_bytes:
                self.bytes -= self._kept.popitem(last=False)[1][0]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.bytes = 0


class Sight:
    """Clips and vision features of one policy, each moment decoded and encoded once while it is kept.

    counters: "frames_decoded", "frames_reused", "moments_encoded", "moments_reused". The policy's weights must stay as they are, or
    `forget` be called. Frames: see `clip`; features: see `features`."""

    def __init__(self, policy: Policy, loader: ClipLoader, *, frame_bytes: int = GIB, feature_bytes: int = GIB) -> None:
        self.policy, self.loader = policy, loader
        self.counters: Counter[str] = Counter()
        self._frames: Store[tuple[float, Tensor]] = Store(frame_bytes)
        self._features: Store[VisionFeatures] = Store(feature_bytes)
        self._infos: dict[int, VideoInfo] = {}  # held, so that the id of one is never another's: a file that changed is a new one
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Drop what the tower made: its weights are others now."""
        self._features.clear()

    def clip(self, info: VideoInfo, plan: FramePlan) -> Clip:
        """What `decode` gives for a plan, decoding only seconds that are not kept at this size. Raises VideoError as it does."""
        start_s, keys = _start_of(plan), self._keys(info, plan)
        frames = [self._frames.get(key) for key in keys]
        missing = [index for index, frame in enumerate(frames) if frame is None]
        if missing:
            config = self.loader.config
            part = replace(plan, times_s=tuple(plan.times_s[index] for index in missing))
            clip = decode(info, part, threads=config.decoder_threads, keep_truncated=config.on_truncated == "keep")
            for index, second, frame_CHW in zip(missing, clip.times_s, clip.frames_NCHW, strict=True):
                frames[index] = (start_s + second, frame_CHW)
                self._frames.put(keys[index], (start_s + second, frame_CHW.clone()), frame_CHW.numel())
        self._count(frames_decoded=len(missing), frames_reused=len(keys) - len(missing))
        shown = [frame for frame in frames if frame is not None]
        end_s = plan.window_s[1] if plan.window_s else info.duration_s
        return Clip(
            frames_NCHW=torch.stack([frame_CHW for _, frame_CHW in shown]),
            times_s=tuple(max(second - start_s, 0.0) for second, _ in shown),
            duration_s=end_s - start_s,
            source_size=(info.width, info.height),
            path=info.path,
        )

    def remember(self, info: VideoInfo, plan: FramePlan, clip: Clip) -> None:
        """Keep the frames of a plan that were decoded elsewhere."""
        start_s = _start_of(plan)
        for key, second, frame_CHW in zip(self._keys(info, plan), clip.times_s, clip.frames_NCHW, strict=True):
            self._frames.put(key, (start_s + second, frame_CHW.clone()), frame_CHW.numel())  # a view would hold the whole clip
        self._count(frames_decoded=len(clip.times_s))

    def _keys(self, info: VideoInfo, plan: FramePlan) -> list[Hashable]:
        with self._lock:
            self._infos.setdefault(id(info), info)
        start_s = _start_of(plan)
        return [(id(info), round(start_s + second, 6), plan.height_px, plan.width_px) for second in plan.times_s]

    def features(self, prompts: Sequence[Prompt]) -> list[VisionFeatures]:
        """What `policy.vision` makes of each prompt's video, moments that were seen before not encoded again. No gradients.

        A moment is known by its frames' bytes, not by its file: the same pictures are the same features wherever they come from."""
        keys = [_moment_keys(prompt, self.loader.geometry.temporal_patch) for prompt in prompts]
        new: dict[Hashable, tuple[int, int]] = {}
        for number, moments in enumerate(keys):
            for moment, key in enumerate(moments):
                if key not in new and self._features.get(key) is None:
                    new[key] = (number, moment)
        made: dict[Hashable, VisionFeatures] = dict(zip(new, self._encoded(prompts, list(new.values())), strict=True))
        self._count(moments_encoded=len(new), moments_reused=sum(map(len, keys)) - len(new))
        whole = []
        for moments in keys:
            parts = []
            for key in moments:
                part = made.get(key) or self._features.get(key)
                assert part is not None
                parts.append(part)
            deep = zip(*(part.deepstack_VD for part in parts), strict=True)
            embeds_VD = torch.cat([part.embeds_VD for part in parts])
            whole.append(VisionFeatures(embeds_VD=embeds_VD, deepstack_VD=tuple(torch.cat(layer) for layer in deep)))
        for key, part in made.items():
            tensors = [part.embeds_VD, *part.deepstack_VD]
            self._features.put(key, part, sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        return whole

    def _encoded(self, prompts: Sequence[Prompt], moments: Sequence[tuple[int, int]]) -> list[VisionFeatures]:
        """Features of single moments, (prompt, moment) each; those of one prompt go through the tower as one shorter video."""
        of_prompt: dict[int, list[int]] = {}
        for number, moment in moments:
            of_prompt.setdefault(number, []).append(moment)
        shorter = []
        for number, own in of_prompt.items():
            prompt, (count, rows, columns) = prompts[number], prompts[number].grid_thw
            patches = prompt.patches.view(count, rows * columns, -1)[own].flatten(0, 1)
            shorter.append(replace(prompt, patches=patches, grid_thw=(len(own), rows, columns)))
        with torch.no_grad(), self.policy.merged():
            seen = self.policy.vision(shorter)
        parts: list[VisionFeatures] = []
        for features, own in zip(seen, of_prompt.values(), strict=True):
            embeds = features.embeds_VD.chunk(len(own))
            deep = [layer.chunk(len(own)) for layer in features.deepstack_VD]
            for moment, each in enumerate(embeds):  # copies: a view would hold the features of all moments
                parts.append(VisionFeatures(embeds_VD=each.clone(), deepstack_VD=tuple(layer[moment].clone() for layer in deep)))
        return parts

    def _count(self, **more: int) -> None:
        with self._lock:
            self.counters.update(more)


def _start_of(plan: FramePlan) -> float:
    """Where a plan's seconds count from, in seconds of the file."""
    return plan.window_s[0] if plan.window_s else 0.0


def _moment_keys(prompt: Prompt, patch: int) -> list[Hashable]:
    """A key for each moment of a prompt: the content and size of its frames."""
    frames_NCHW = prompt.clip.frames_NCHW
    if missing := -len(frames_NCHW) % patch:
        frames_NCHW = torch.cat([frames_NCHW, frames_NCHW[-1:].expand(missing, -1, -1, -1)])
    return [
        (tuple(moment.shape), hashlib.blake2b(moment.contiguous().numpy().tobytes(), digest_size=16).digest())
        for moment in frames_NCHW.split(patch)
    ]
