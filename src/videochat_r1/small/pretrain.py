"""How the shipped small model was made: `python -m videochat_r1.small.pretrain --out DIR`.

A stock class learns from drawn scenes, supervised: single frames, then time, then the answer formats (small/curriculum.py).
Every step draws fresh scenes, so the figures of its log are figures on scenes never seen before. Several questions share one reading
of their video, as the completions of a group do in training: `[video | question_1 answer_1 | question_2 answer_2 | ...]`, and each
question sees the video and itself (policy/attention.py)."""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from videochat_r1.policy.attention import Layout, SharedRow, by_layout
from videochat_r1.policy.families.base import VisionFeatures, family_of
from videochat_r1.policy.patches import embed_by_product, frames_to_patches
from videochat_r1.policy.vision_attention import batch_windows
from videochat_r1.small.architecture import (
    KINDS,
    PATCH,
    SIDE_PX,
    TEMPORAL_PATCH,
    save_small_model,
    small_config,
    small_model,
    small_processor,
)
from videochat_r1.small.curriculum import FRAMES, STAGES, TARGETS, TIME, Clipping, Stage, clippings
from videochat_r1.small.tokenizer import VIDEO_MARKS, train_tokenizer
from videochat_r1.world.render import Drawing, pack, paint

VOCABULARY = 1536
TURN = ("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")  # between question and answer, and after it


@dataclass
class Batch:
    """One step: B videos with their questions in one row of L tokens, `[video | question answer | question answer | video | ...]`."""

    drawing: Drawing
    grids: list[tuple[int, int, int]]  # of the videos; none in a step of questions alone
    ids_L: Tensor
    positions_3L: Tensor
    prompts: list[int]  # tokens of each video
    tails: list[list[int]]  # tokens of each of its questions, answer included
    weight_L: Tensor  # in the loss; above 0 on the tokens that are learned
    kind_L: Tensor  # index into `kinds` on those tokens
    kinds: list[str]


class Steps(Dataset[Batch]):
    """Step i of a stage, prepared in whichever process asks for it."""

    def __init__(self, stage: Stage, seed: int, tokenizer: PreTrainedTokenizerFast, config: Any) -> None:
        self.stage, self.seed, self.tokenizer, self.config = stage, seed, tokenizer, config

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)
        return collate(clippings(self.stage, self.seed, step), self.tokenizer, self.config, self.stage.length_power)


def collate(items: Sequence[Clipping], tokenizer: PreTrainedTokenizerFast, config: Any, length_power: float = 0.0) -> Batch:
    """All videos of a step and what is asked about each, in one row without padding."""
    kinds = sorted({lesson.kind for item in items for lesson in item.lessons})
    side, family = SIDE_PX // PATCH, family_of(config)
    ids: list[int] = []
    kind: list[int] = []
    weight: list[float] = []
    tails: list[list[int]] = []
    positions, grids, prompts = [], [], []
    for item in items:
        grid = (len(item.times_s) // TEMPORAL_PATCH, side, side)
        video = _video_ids(grid, item.times_s, tokenizer, config)
        if item.times_s:
            grids.append(grid)
            positions.append(family.positions(torch.tensor(video), grid, item.times_s, config))
        else:
            positions.append(torch.arange(len(video)).expand(3, -1))
        first = int(positions[-1][:, -1].max()) + 1
        prompts.append(len(video))
        tails.append([])
        ids += video
        kind += [0] * len(video)
        weight += [0.0] * len(video)
        for lesson in item.lessons:
            question = _encode(tokenizer, lesson.question + TURN[0])
            reply = _encode(tokenizer, lesson.answer + TURN[1])
            tails[-1].append(len(question) + len(reply))
            ids += question + reply
            weight += [0.0] * len(question) + [len(reply) ** -length_power] * len(reply)
            kind += [kinds.index(lesson.kind)] * tails[-1][-1]
            positions.append(torch.arange(first, first + tails[-1][-1]).expand(3, -1))
    return Batch(
        drawing=pack([item.scene for item in items], [item.times_s for item in items]),
        grids=grids,
        ids_L=torch.tensor(ids),
        positions_3L=torch.cat(positions, dim=1),
        prompts=prompts,
        tails=tails,
        weight_L=torch.tensor(weight),
        kind_L=torch.tensor(kind),
        kinds=kinds,
    )


def _video_ids(grid: tuple[int, int, int], times_s: Sequence[float], tokenizer: PreTrainedTokenizerFast, config: Any) -> list[int]:
    text, sizes = family_of(config).video_text(grid, times_s, config)
    ids: list[int] = []
    runs = iter(sizes)
    for token in _encode(tokenizer, "<|im_start|>user\n" + text.join(VIDEO_MARKS[config.model_type])):
        ids += [token] * (next(runs) if token == config.video_token_id else 1)
    return ids


_ENCODED: dict[str, list[int]] = {}


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    if text not in _ENCODED:
        if len(_ENCODED) > 50_000:
            _ENCODED.clear()
        _ENCODED[text] = tokenizer.encode(text, add_special_tokens=False)
    return list(_ENCODED[text])


def to_device(batch: Batch, device: str) -> Batch:
    moved = {
        f.name: getattr(batch, f.name).to(device, non_blocking=True) for f in fields(batch) if isinstance(getattr(batch, f.name), Tensor)
    }
    return replace(batch, **moved)


class InBfloat16:
    """A layout whose attention alone is taken in bfloat16. In float32 a GPU has no kernel that takes all segments of a row at once, and a
    loop over 160 videos is 2 seconds a step where the rest of it is a few hundredths."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def attend(self, layer: int, q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, scale: float) -> Tensor:
        return self.layout.attend(layer, q_BHLD.bfloat16(), k_BKLD.bfloat16(), v_BKLD.bfloat16(), scale).to(q_BHLD.dtype)


def logits_of_answers(model: Any, video_processor: Any, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (A, V), targets (A,) and kinds (A,) of the A answer tokens of a batch."""
    device = batch.ids_L.device
    embeds_LD = model.get_input_embeddings()(batch.ids_L)
    video_L = batch.ids_L == model.config.video_token_id
    family = family_of(model.config)
    features: list[VisionFeatures] = []
    if batch.grids:
        moments = batch.grids[0][0] * TEMPORAL_PATCH
        noise = torch.randn((len(batch.grids), moments, 1, SIDE_PX, SIDE_PX), generator=generator, device=device)
        frames = paint(batch.drawing, SIDE_PX, noise, device)
        patches, _ = frames_to_patches(frames.flatten(0, 1), video_processor)
        features = family.vision(model, patches, batch.grids)
        embeds_LD = embeds_LD.index_copy(0, video_L.nonzero()[:, 0], torch.cat([feature.embeds_VD for feature in features]))
    layout: Layout = SharedRow(batch.prompts, batch.tails, device)
    if device.type == "cuda":
        layout = InBfloat16(layout)
    hidden_1LD = family.hidden(model, embeds_LD[None], batch.positions_3L[:, None], features, video_L[None], **by_layout(model, layout))
    taught = batch.weight_L[1:] > 0
    logits = model.lm_head(hidden_1LD[0, :-1][taught]).float()
    return logits, batch.ids_L[1:][taught], batch.kind_L[1:][taught]


def learn(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    stages: Sequence[Stage],
    *,
    seed: int,
    device: str,
    workers: int,
    log: Path,
    on_stage: Callable[[], None] = lambda: None,
) -> None:
    """The stages in a row. Those with the same learning rate share one warm-up and one cosine; on_stage is called after each stage."""
    model.to(device).train()
    batch_windows(model.model.visual, True)
    embed_by_product(model.model.visual)
    video_processor = small_processor(tokenizer, model.config.model_type).video_processor
    generator = torch.Generator(device=device)
    values_V = torch.tensor([_number(str(tokenizer.decode([token]))) for token in range(len(tokenizer))], device=device)
    began = time.monotonic()
    with log.open("a", encoding="utf-8") as out:
        for lr, part in groupby(stages, key=lambda stage: stage.lr):
            own = list(part)
            course = _Course(model, lr, sum(stage.steps for stage in own))
            for stage in own:
                seen: dict[str, Tensor] = defaultdict(lambda: torch.zeros(4, device=device))
                generator.manual_seed(zlib.crc32(f"{seed} {stage.name}".encode()))  # so that stages after a pause are as without it
                for step, batch in enumerate(_batches(stage, seed, tokenizer, model.config, workers), start=1):
                    loss = _learn_from(model, video_processor, to_device(batch, device), generator, course, seen, values_V)
                    if step % 100 == 0 or step == stage.steps:
                        row = {
                            "stage": stage.name,
                            "step": step,
                            "seconds": round(time.monotonic() - began, 1),
                            "loss": round(loss.item(), 4),
                        }
                        row["kinds"] = {kind: _summary(counts) for kind, counts in sorted(seen.items())}
                        seen.clear()
                        out.write(json.dumps(row) + "\n")
                        out.flush()
                        print(json.dumps(row), flush=True)
                on_stage()


class _Course:
    """AdamW over one warm-up and one cosine."""

    WARM_STEPS, LOWEST = 100, 0.03

    def __init__(self, model: Any, lr: float, steps: int) -> None:
        self.parameters = list(model.parameters())
        decayed = {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": 0.02}
        plain = {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0}
        self.optimizer = torch.optim.AdamW([decayed, plain], lr=lr, betas=(0.9, 0.98))

        def share(step: int) -> float:
            wave = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
            return min((step + 1) / min(self.WARM_STEPS, steps), 1.0) * (self.LOWEST + (1 - self.LOWEST) * wave)

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()


def _learn_from(
    model: Any, video_processor: Any, batch: Batch, generator: torch.Generator, course: _Course, seen: dict[str, Tensor], values_V: Tensor
) -> Tensor:
    logits, targets, kinds = logits_of_answers(model, video_processor, batch, generator)
    weights = batch.weight_L[1:]
    weights = weights[weights > 0]
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    course.step(loss)
    _count(seen, batch.kinds, kinds, logits.detach(), targets, values_V)
    return loss.detach()


def _batches(stage: Stage, seed: int, tokenizer: PreTrainedTokenizerFast, config: Any, workers: int) -> Iterator[Batch]:
    steps = Steps(stage, seed, tokenizer, config)
    if workers == 0:
        return (steps[index] for index in range(len(steps)))
    return iter(DataLoader(steps, batch_size=None, num_workers=workers, prefetch_factor=4))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _count(seen: dict[str, Tensor], kinds: list[str], kind_A: Tensor, logits: Tensor, targets: Tensor, values_V: Tensor) -> None:
    """For each kind of lesson: tokens, those whose likeliest token was right, numbers, and the sum of their absolute errors."""
    likeliest = logits.argmax(-1)
    error = (values_V[likeliest] - values_V[targets]).abs()
    is_number = ~error.isnan()
    figures_A4 = torch.stack([torch.ones_like(error), (likeliest == targets).float(), is_number.float(), error.nan_to_num(0.0, 0.0)], dim=1)
    sums_K4 = F.one_hot(kind_A, len(kinds)).float().T @ figures_A4
    for index, kind in enumerate(kinds):
        seen[kind] += sums_K4[index]


def _summary(counts: Tensor) -> dict[str, float]:
    tokens, right, numbers, error = counts.tolist()
    return {"token_accuracy": round(right / max(tokens, 1), 4), "number_error": round(error / max(numbers, 1), 4)}


def corpus(seed: int) -> Iterator[str]:
    """Text for the tokenizer: lessons of all stages, and every number of an answer or a written time, often enough to be a token."""
    for stage in (FRAMES, TIME, TARGETS):
        for step in range(12):
            for item in clippings(stage, seed, step):
                for lesson in item.lessons:
                    yield lesson.question + TURN[0]
                    yield lesson.answer
    for _ in range(60):
        yield ", ".join(f"{k / 100:.2f}" for k in range(101))
        yield " ".join(f"<{k / 10:.1f} seconds>" for k in range(161))
        yield " to ".join(f"{k / 2:.2f}" for k in range(33))
        for first in ("[[", "[", "[(", "("):
            yield " ".join(f"{first}{k / 100:.2f}" for k in range(101))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; its log is OUT/pretrain.jsonl")
    parser.add_argument("--start", type=Path, help="go on from the model, tokenizer and log in this folder instead of from nothing")
    parser.add_argument("--kind", choices=KINDS, default="qwen3_vl", help="the stock class; with --start, that of the folder")
    parser.add_argument("--stages", nargs="+", default=[stage.name for stage in STAGES], choices=[stage.name for stage in STAGES])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes; 0 draws between the steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps-factor", type=float, default=1.0, help="scales the steps of every stage, for a trial")
    parser.add_argument("--videos-factor", type=float, default=1.0, help="scales the videos of every step, for a trial")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    torch.set_float32_matmul_precision("high")
    log = chosen.out / "pretrain.jsonl"
    if chosen.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(chosen.start, local_files_only=True)
        model: Any = AutoModelForImageTextToText.from_pretrained(chosen.start, local_files_only=True, dtype=torch.float32)
        log.write_text((chosen.start / "pretrain.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    else:
        tokenizer = train_tokenizer(corpus(chosen.seed), VOCABULARY, chosen.kind)
        model = small_model(small_config(tokenizer, kind=chosen.kind))
        log.write_text("", encoding="utf-8")
    stages = [
        replace(
            stage,
            steps=max(1, round(stage.steps * chosen.steps_factor)),
            videos=max(2, round(stage.videos * chosen.videos_factor)),
        )
        for stage in STAGES
        if stage.name in chosen.stages
    ]
    settings = {
        "seed": chosen.seed,
        "stages": [asdict(stage) for stage in stages],
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    with log.open("a", encoding="utf-8") as out:
        out.write(json.dumps({**settings, "device": chosen.device, "threads": torch.get_num_threads(), "torch": torch.__version__}) + "\n")

    def save() -> None:
        save_small_model(chosen.out, model, tokenizer)

    learn(model, tokenizer, stages, seed=chosen.seed, device=chosen.device, workers=chosen.workers, log=log, on_stage=save)


if __name__ == "__main__":
    main()
