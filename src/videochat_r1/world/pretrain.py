"""How the shipped small model was made: `python -m videochat_r1.world.pretrain --out DIR`.

A stock Qwen3-VL class learns from drawn scenes, supervised: single frames, then time, then the answer formats (world/curriculum.py).
Every step draws fresh scenes, so the figures of its log are figures on scenes never seen before. Several questions share one reading
of their video: a row is `[video | question_1 answer_1 | question_2 answer_2 | ...]`, and each question sees the video and itself."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from videochat_r1.policy.families.base import family_of
from videochat_r1.policy.families.qwen3_vl import FAMILY
from videochat_r1.policy.patches import frames_to_patches
from videochat_r1.policy.vision_attention import batch_windows
from videochat_r1.world.architecture import PATCH, SIDE_PX, TEMPORAL_PATCH, save_small_model, small_config, small_model, small_processor
from videochat_r1.world.curriculum import FILE_FPS, STAGES, Clipping, Stage, clippings
from videochat_r1.world.render import Drawing, pack, paint
from videochat_r1.world.tokenizer import train_tokenizer

VOCABULARY = 1536
TURN = ("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")  # between question and answer, and after it


@dataclass
class Batch:
    """One step: B videos, rows of L tokens."""

    drawing: Drawing
    grids: list[tuple[int, int, int]]
    ids_BL: Tensor
    positions_3BL: Tensor
    segment_BL: Tensor  # 0: the video; 1, 2, ...: its questions; -1: nothing
    answer_BL: Tensor  # true on the tokens that are learned
    kind_BL: Tensor  # index into `kinds` on those tokens
    kinds: list[str]


class Steps(Dataset[Batch]):
    """Step i of a stage, prepared in whichever process asks for it."""

    def __init__(self, stage: Stage, seed: int, tokenizer: PreTrainedTokenizerFast, config: Any) -> None:
        self.stage, self.seed, self.tokenizer, self.config = stage, seed, tokenizer, config

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)
        return collate(clippings(self.stage, self.seed, step), self.tokenizer, self.config)


def collate(items: Sequence[Clipping], tokenizer: PreTrainedTokenizerFast, config: Any) -> Batch:
    """Rows `[video | question answer | ...]`, padded to the longest."""
    kinds = sorted({lesson.kind for item in items for lesson in item.lessons})
    side = SIDE_PX // PATCH
    rows, grids = [], []
    for item in items:
        grid = (len(item.times_s) // TEMPORAL_PATCH, side, side)
        ids = _video_ids(grid, item.times_s, tokenizer, config)
        positions = FAMILY.positions(torch.tensor(ids), grid, item.times_s, config)
        first = int(positions.max()) + 1
        segment, answer, kind, tails = [0] * len(ids), [0] * len(ids), [0] * len(ids), [positions]
        for number, lesson in enumerate(item.lessons, start=1):
            question = _encode(tokenizer, lesson.question + TURN[0])
            reply = _encode(tokenizer, lesson.answer + TURN[1])
            length = len(question) + len(reply)
            ids += question + reply
            segment += [number] * length
            answer += [0] * len(question) + [1] * len(reply)
            kind += [kinds.index(lesson.kind)] * length
            tails.append(torch.arange(first, first + length).expand(3, -1))
        rows.append((torch.tensor([ids, segment, answer, kind]), torch.cat(tails, dim=1)))
        grids.append(grid)
    longest = max(row.shape[1] for row, _ in rows)
    table = torch.stack([F.pad(row, (0, longest - row.shape[1]), value=-1) for row, _ in rows])
    positions_3BL = torch.stack([F.pad(row, (0, longest - row.shape[1])) for _, row in rows], dim=1)
    pad = table[:, 1] < 0
    return Batch(
        drawing=pack([item.scene for item in items], [item.times_s for item in items]),
        grids=grids,
        ids_BL=table[:, 0].masked_fill(pad, int(tokenizer.pad_token_id or 0)),
        positions_3BL=positions_3BL,
        segment_BL=table[:, 1],
        answer_BL=table[:, 2] > 0,
        kind_BL=table[:, 3].clamp(min=0),
        kinds=kinds,
    )


def _video_ids(grid: tuple[int, int, int], times_s: Sequence[float], tokenizer: PreTrainedTokenizerFast, config: Any) -> list[int]:
    text, sizes = FAMILY.video_text(grid, times_s, config)
    ids: list[int] = []
    runs = iter(sizes)
    for token in _encode(tokenizer, "<|im_start|>user\n" + text):
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
    moved = {f.name: getattr(batch, f.name).to(device, non_blocking=True) for f in fields(batch) if isinstance(getattr(batch, f.name), Tensor)}
    return replace(batch, **moved)


def logits_of_answers(model: Any, video_processor: Any, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (A, V), targets (A,) and kinds (A,) of the A answer tokens of a batch."""
    device = batch.ids_BL.device
    moments = batch.grids[0][0] * TEMPORAL_PATCH
    noise = torch.randn((len(batch.grids), moments, 1, SIDE_PX, SIDE_PX), generator=generator, device=device)
    frames = paint(batch.drawing, SIDE_PX, noise, device)
    patches, _ = frames_to_patches(frames.flatten(0, 1), video_processor)
    features = FAMILY.vision(model, patches, batch.grids)
    video_mask = batch.ids_BL == model.config.video_token_id
    embeds = model.get_input_embeddings()(batch.ids_BL).clone()
    embeds[video_mask] = torch.cat([feature.embeds_VD for feature in features]).to(embeds.dtype)
    length = embeds.shape[1]
    segment = batch.segment_BL
    same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    causal = torch.ones((length, length), dtype=torch.bool, device=device).tril()
    hidden = FAMILY.hidden(model, embeds, batch.positions_3BL, features, video_mask, attention_mask=(same & causal)[:, None])
    taught = batch.answer_BL[:, 1:]
    logits = model.lm_head(hidden[:, :-1][taught]).float()
    return logits, batch.ids_BL[:, 1:][taught], batch.kind_BL[:, 1:][taught]


def learn(model: Any, tokenizer: PreTrainedTokenizerFast, *, stages: Sequence[Stage], seed: int, device: str, lr: float, workers: int, log: Path) -> None:
    """All stages in a row: AdamW, one warm-up and one cosine over all their steps."""
    model.to(device).train()
    batch_windows(model.model.visual, True)
    video_processor = small_processor(tokenizer).video_processor
    total = sum(stage.steps for stage in stages)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.98))
    warm, low = 100, 0.03
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 1.0) * (low + (1 - low) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * s / total)).item()))
    )
    generator = torch.Generator(device=device).manual_seed(seed)
    values_V = torch.tensor([_number(tokenizer.decode([token])) for token in range(len(tokenizer))], device=device)
    began, done = time.monotonic(), 0
    with log.open("a", encoding="utf-8") as out:
        for stage in stages:
            seen: dict[str, Any] = defaultdict(lambda: torch.zeros(4, device=device))
            for step, batch in enumerate(_batches(stage, seed, tokenizer, model.config, workers), start=1):
                logits, targets, kinds = logits_of_answers(model, video_processor, to_device(batch, device), generator)
                loss = F.cross_entropy(logits, targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                done += 1
                _count(seen, batch.kinds, kinds, logits.detach(), targets, values_V)
                if step % 100 == 0 or step == stage.steps:
                    row = {"stage": stage.name, "step": step, "seconds": round(time.monotonic() - began, 1), "loss": round(loss.item(), 4)}
                    row["kinds"] = {kind: _summary(counts) for kind, counts in sorted(seen.items())}
                    seen.clear()
                    out.write(json.dumps(row) + "\n")
                    out.flush()
                    print(json.dumps(row), flush=True)


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
    right = (likeliest == targets).float()
    error = (values_V[likeliest] - values_V[targets]).abs()
    is_number = ~error.isnan()
    for index, kind in enumerate(kinds):
        mine = kind_A == index
        seen[kind] += torch.stack([mine.sum(), right[mine].sum(), (is_number & mine).sum(), error[is_number & mine].sum()])


def _summary(counts: Tensor) -> dict[str, float]:
    tokens, right, numbers, error = counts.tolist()
    return {"token_accuracy": round(right / max(tokens, 1), 4), "number_error": round(error / max(numbers, 1), 4)}


def corpus(seed: int) -> Iterator[str]:
    """Text for the tokenizer: lessons of all stages, and every number that an answer or a written time may hold, often enough to be a token."""
    for stage in STAGES:
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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes; 0 draws between the steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps-factor", type=float, default=1.0, help="scales the steps of every stage, for a trial")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    torch.set_float32_matmul_precision("high")
    tokenizer = train_tokenizer(corpus(chosen.seed), VOCABULARY)
    config = small_config(tokenizer, width=chosen.width, layers=chosen.layers)
    model = small_model(config)
    assert family_of(config) is FAMILY
    stages = [replace(stage, steps=max(1, round(stage.steps * chosen.steps_factor))) for stage in STAGES]
    log = chosen.out / "pretrain.jsonl"
    settings = {"seed": chosen.seed, "lr": chosen.lr, "parameters": sum(p.numel() for p in model.parameters()), "device": chosen.device}
    log.write_text(json.dumps({**settings, "torch": torch.__version__, "file_fps": FILE_FPS}) + "\n", encoding="utf-8")
    print(log.read_text().strip(), flush=True)
    learn(model, tokenizer, stages=stages, seed=chosen.seed, device=chosen.device, lr=chosen.lr, workers=chosen.workers, log=log)
    batch_windows(model.model.visual, False)
    save_small_model(chosen.out, model.to("cpu").eval(), tokenizer)


if __name__ == "__main__":
    main()
