"""Task + Sample + Clip -> Prompt: the chat the model was trained on, with the video's tokens in it.

Ids, patches and positions equal the stock processor's and model's for the same frames at the same seconds. Here the words are tokenised
once, with one placeholder a run of video tokens, and the runs are spread out afterwards; the template is rendered once a model."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.plugins import said
from videochat_r1.policy.patches import frames_to_patches
from videochat_r1.policy.processing import Processing
from videochat_r1.types import Clip, Completion, Prompt, Sample

if TYPE_CHECKING:
    from videochat_r1.tasks.base import Asking, Task
    from videochat_r1.video.sampling import FramePlan

NOTES = logging.getLogger("videochat_r1")
Order = Literal["text_first", "video_first"]
PLACEHOLDER = "<|video_pad|>"
STANDIN = "\n [the question] \n"  # with white space around it: a template that trims what it is given must show it


def pinned_for(device: torch.device, prompt: Prompt) -> Prompt:
    """The prompt with its patches where they are copied to a GPU while it works: in pinned memory. As it is for a CPU, and where the
    machine gives no such memory."""
    if device.type != "cuda":
        return prompt
    try:
        with torch.cuda.device(-1 if device.index is None else device.index):  # a helper thread would open the first card for it
            return replace(prompt, patches=prompt.patches.pin_memory())
    except RuntimeError as fault:
        _say_unpinned(str(fault).splitlines()[0])
        return prompt


@functools.cache
def _say_unpinned(reason: str) -> None:
    NOTES.warning("Patches are copied to the GPU from ordinary memory, which is slower: none can be pinned (%s)", reason)


def render(policy: Processing, task: Task, sample: Sample, clip: Clip, asking: Asking) -> Prompt:
    """The prompt of one sample. A prompt is never cut: one that is longer than the model's positions raises DataError naming the sample."""
    return render_text(policy, task.ask(sample, asking), clip, order=asking.order, sample_id=sample.id)


def render_text(policy: Processing, question: str, clip: Clip, *, order: Order, sample_id: str) -> Prompt:
    """The prompt of a question in words. clip.frames_NCHW must be cut to whole tokens (policy.geometry). Raises DataError as `render`
    does."""
    patches, grid_thw = frames_to_patches(clip.frames_NCHW, policy.processor.video_processor)
    ids_P = torch.tensor(prompt_ids(policy, question, grid_thw, clip.times_s, order=order, sample_id=sample_id))
    return Prompt(
        sample_id=sample_id,
        ids_P=ids_P,
        positions_3P=policy.family.positions(ids_P, grid_thw, clip.times_s, policy.hf_config),
        patches=patches,
        grid_thw=grid_thw,
        text=chat_text(policy, question, order),
        clip=clip,
    )


def count_tokens(policy: Processing, task: Task, sample: Sample, plan: FramePlan, asking: Asking) -> int:
    """Tokens of the prompt that `render` would make of the planned frames; nothing is decoded and nothing is refused."""
    ids, runs = _compact_ids(policy, task.ask(sample, asking), plan.grid_thw, plan.times_s, asking.order, sample.id)
    return len(ids) + sum(runs) - len(runs)


def prompt_ids(
    policy: Processing, question: str, grid_thw: tuple[int, int, int], times_s: Sequence[float], *, order: Order, sample_id: str
) -> list[int]:
    """Token ids of a prompt; no frame is needed. times_s: one a frame. Raises DataError where the prompt is longer than the model's
    positions, or the question holds the model's own marks."""
    ids, runs = _compact_ids(policy, question, grid_thw, times_s, order, sample_id)
    length = len(ids) + sum(runs) - len(runs)
    if length > policy.max_positions:
        what = f"{sample_id}: the prompt has {length} tokens ({sum(runs)} of video), and the model takes {policy.max_positions}."
        raise DataError(what, "Lower video.total_pixels or video.max_frames; a prompt with video is never cut.")
    marker, spread, run = policy.hf_config.video_token_id, [], iter(runs)
    for token in ids:
        if token == marker:
            spread += [marker] * next(run)
        else:
            spread.append(token)
    return spread


def chat_text(policy: Processing, question: str, order: Order) -> str:
    """The whole chat as the model's template writes it, with one placeholder for the video."""
    before, after = _chat(policy, order)
    return f"{before}{question}{after}"


def encode_text(policy: Processing, text: str) -> Completion:
    """A written answer as a completion: its ids and the end token. It was not sampled; its log-probs are zeros and mean nothing."""
    ids_T = torch.tensor([*policy.tokenizer.encode(text, add_special_tokens=False), policy.end_ids[0]])
    return Completion(ids_T=ids_T, logprobs_T=torch.zeros(len(ids_T)), text=text, stop="end")


def _compact_ids(
    policy: Processing, question: str, grid_thw: tuple[int, int, int], times_s: Sequence[float], order: Order, sample_id: str
) -> tuple[list[int], list[int]]:
    """Ids with one placeholder for each run of video tokens, and the length of each run."""
    if mark := policy.marks.search(question):
        raise DataError(f"{sample_id}: its text holds {mark.group()}, a mark of the model's own.", "Take the mark out of the text.")
    before, after = _chat(policy, order)
    video, runs = policy.family.video_text(grid_thw, times_s, policy.hf_config)
    text = f"{before}{question}{after}".replace(PLACEHOLDER, video, 1)
    try:
        ids = policy.tokenizer.backend_tokenizer.encode(text).ids
    except (UnicodeEncodeError, TypeError) as fault:
        raise DataError(f"{sample_id}: its text is not Unicode ({type(fault).__name__}).", "Save the annotation file as UTF-8.") from fault
    return ids, runs


def _chat(policy: Processing, order: Order) -> tuple[str, str]:
    """The chat before and after the question, as the model's template writes it. Raises EnvironmentFault for a template that changes the
    question, or has no place for a video."""
    if order not in policy.chats:
        parts: list[dict[str, str]] = [{"type": "text", "text": STANDIN}, {"type": "video"}]
        content = parts if order == "text_first" else parts[::-1]
        from jinja2 import TemplateError

        try:
            chat = policy.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
        except (ValueError, TypeError, TemplateError) as fault:
            raise EnvironmentFault(f"The model's chat template cannot be used: {said(fault)}.", "Copy the model's folder again.") from fault
        before, found, after = chat.partition(STANDIN)
        if not found or STANDIN in after or (before + after).count(PLACEHOLDER) != 1:
            raise EnvironmentFault(
                "The model's chat template does not keep a question as it is, beside one video.", "Use the template of the released model."
            )
        policy.chats[order] = before, after
    return policy.chats[order]
