"""Our policies as a model of lmms-eval: native generation, a video read once for all questions about it.

lmms-eval gives prompts as its tasks word them and a video's path; the clip is sampled as the policy's own run or release says, where
model_args say nothing. One process: lmms-eval's launch on several is not served here (`videochat-r1 evaluate` under torchrun is)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmms_eval.api.model import lmms

from videochat_r1.errors import DataError, UsageError
from videochat_r1.evaluation.evaluate import answer
from videochat_r1.evaluation.manner import manner_of, with_manner
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.model import load_policy
from videochat_r1.rollout.base import Sampling, make_engine
from videochat_r1.tasks.base import Asking
from videochat_r1.types import Answer, Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.sampling import VideoConfig

RAW_TASK = str(Path(__file__).with_name("raw.py"))
VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts")


class VideoChatR1(lmms):
    """model_args: pretrained (as --policy takes it), and any field of a recipe's [video] and [asking] by its name, such as fps=2,
    total_pixels=2809856, order=video_first; device, dtype, batch_size, max_new_tokens where a task says none."""

    is_simple = True

    def __init__(
        self,
        pretrained: str = "",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int | str = 16,
        max_new_tokens: int = 1024,
        **fields: Any,
    ) -> None:
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError("This model runs in one process of lmms-eval.", "On several: torchrun -m videochat_r1.cli evaluate.")
        manner = manner_of(pretrained)
        video, asking = _sections(fields)
        self.asking = with_manner(asking, manner.sections.get("asking", {}))
        self.batch_size, self.max_new_tokens = int(batch_size), int(max_new_tokens)
        config = PolicyConfig.model_validate({"path": manner.path, "device": device or "auto", "dtype": dtype})
        self.policy = load_policy(config, keep_reference=False)
        self.engine = make_engine("native", self.policy)
        self.loader = ClipLoader(with_manner(video, manner.sections.get("video", {})), self.policy.geometry)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """A text for each request, in their order, cut before the first of its `until`. A video that cannot be used gives "".

        Raises DataError for a request that does not show just one video."""
        texts: dict[int, str] = {}
        alike: dict[tuple[tuple[str, Any], ...], list[int]] = {}
        for place, request in enumerate(requests):
            drawn = self._sampling(request.args[1])
            alike.setdefault(tuple(sorted(drawn.model_dump().items())), []).append(place)
        for key, places in alike.items():
            samples = [self._sample(place, requests[place].args) for place in places]
            found = answer(self.policy, self.engine, self.loader, samples, self.asking, Sampling(**dict(key)))
            for place, one in zip(places, found, strict=True):
                texts[place] = _cut(one.text, requests[place].args[1].get("until"))
                self.cache_hook.add_partial("generate_until", (requests[place].args[0], requests[place].args[1]), texts[place])
        return [texts[place] for place in range(len(requests))]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError("videochat_r1 answers in one round")

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError("videochat_r1 generates; it scores no given continuation")

    def _sample(self, place: int, args: Sequence[Any]) -> Sample:
        context, _, doc_to_visual, doc_id, task, split = args
        shown = doc_to_visual(self.task_dict[task][split][doc_id])
        if len(shown) != 1 or not isinstance(shown[0], str | os.PathLike) or not str(shown[0]).lower().endswith(VIDEO_ENDINGS):
            what = f"Document {doc_id} of {task} shows {len(shown)} things, not one video file."
            raise DataError(what, "This model answers questions about one video.")
        return Sample(id=f"{task}/{place}", task=RAW_TASK, video=str(shown[0]), question=context, truth=Answer())

    def _sampling(self, given: Mapping[str, Any]) -> Sampling:
        sampled = bool(given.get("do_sample", float(given.get("temperature") or 0.0) > 0.0))
        return Sampling(
            temperature=float(given.get("temperature") or 1.0) if sampled else 0.0,
            top_p=float(given.get("top_p") or 1.0) if sampled else 1.0,
            max_tokens=int(given.get("max_new_tokens") or self.max_new_tokens),
            batch_prompts=self.batch_size,
        )


def _sections(fields: Mapping[str, Any]) -> tuple[VideoConfig, Asking]:
    """model_args as fields of [video] and [asking]. Raises UsageError for one that neither has, or a value that does not fit."""
    from videochat_r1.checking import checked
    from videochat_r1.spelling import did_you_mean

    video = {name: value for name, value in fields.items() if name in VideoConfig.model_fields}
    asking = {name: value for name, value in fields.items() if name in Asking.model_fields}
    for name in fields:
        if name not in video and name not in asking:
            mend = did_you_mean(name, [*VideoConfig.model_fields, *Asking.model_fields])
            raise UsageError(f"model_args: there is no field {name!r}.", mend)
    return checked(VideoConfig, video), checked(Asking, asking)


def _cut(text: str, until: Any) -> str:
    for mark in [until] if isinstance(until, str) else until or ():
        if mark:
            text = text.partition(mark)[0]
    return text
