"""One step of TRL's GRPOTrainer on the same number of tokens, the frames given as images: what TRL can do with a video.

    python -m benchmarks.trl_images                          # 3B geometry, P 3.8k, C 256, G 8, beta 0 and 0.04, 1 prompt a batch
    python -m benchmarks.trl_images --prompts 4

TRL takes no video, so a clip's moments become images, one for two frames: the tower merges no time there, so tokens and patches are as
many. Same LoRA, G, C, sampling with the stock `generate`, gradient checkpointing, bf16, and our faster tower. Phases are methods of the
trainer, each on the clock: rollout is _generate; no-grad log-probs are the passes of old policy and reference; policy the loss and its
backward pass; the rest (the processor's passes over images, padding, rewards) is what is left of the step. The optimizer's update is not
in it. Needs trl (1.16), accelerate, datasets."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.bench import Clock, Record, arguments, begin, ceilings, command, positive, say
from benchmarks.models import GEOMETRIES, Geometry, hf_config, moments_of, processing_of
from benchmarks.step import vars_of
from benchmarks.ways import Settings, forward_flops, useful_passes
from videochat_r1.errors import EnvironmentFault
from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.fused import attach, kernels_work
from videochat_r1.policy.patches import embed_by_product
from videochat_r1.policy.released import chat_of
from videochat_r1.policy.vision_attention import batch_windows

NEEDED = ("trl", "accelerate", "datasets")
COLUMNS = {
    "beta": lambda row: row["beta"],
    "P": lambda row: row["prompt_tokens"],
    "C": lambda row: row["completion_tokens"],
    "prompts": lambda row: row["prompts"],
    "rollout s": lambda row: row["seconds"]["rollout"],
    "no-grad log-probs s": lambda row: row["seconds"].get("scores", 0.0),
    "policy s": lambda row: row["seconds"]["policy"],
    "rest s": lambda row: row["seconds"]["rest"],
    "step s": lambda row: row["step_s"],
    "s/prompt": lambda row: row["step_s"] / row["prompts"],
    "peak GiB": lambda row: row["peak_gib"],
    "useful MFU %": lambda row: row["useful_mfu_counted"] * 100,
    "not run": lambda row: row.get("not_run", ""),
}


@command
def main(argv: Sequence[str] | None = None) -> Record:
    parser = arguments(__doc__, "trl_images")
    parser.add_argument("--geometry", default="3b", choices=[name for name in GEOMETRIES if "qwen3" not in name])
    parser.add_argument("--prompt-tokens", type=positive, default=None)
    parser.add_argument("--completion-tokens", type=positive, default=None)
    parser.add_argument("--prompts", type=positive, default=1)
    parser.add_argument("--group", type=positive, default=8)
    parser.add_argument("--beta", type=float, action="append", help="more than once for more than one; default 0 and 0.04")
    parser.add_argument("--runs", type=positive, default=1, help="steps that count, after one that does not")
    parser.add_argument("--lora-rank", type=int, default=None)
    parser.add_argument("--vision-path", choices=["fast", "stock"], default="fast", help="fast: TRL gets our faster tower too")
    chosen = parser.parse_args(argv)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise EnvironmentFault(f"trl_images needs {', '.join(missing)}, not installed here.", f"pip install {' '.join(missing)}")
    device = begin(chosen)
    record = Record("trl_images", chosen, device, chosen.geometry, vars_of(chosen))
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    record.note(ceilings=ceilings(device, dtype))
    end = time.perf_counter() + chosen.budget_seconds
    for beta in chosen.beta or [0.0, 0.04]:
        row: dict[str, Any] = {"beta": beta, "prompts": chosen.prompts}
        if time.perf_counter() > end:
            record.add(row | {"not_run": "no time left in the budget"})
            continue
        try:
            record.add(row | one_row(beta, chosen, device, record.content["ceilings"]))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            record.add(row | {"not_run": "out of memory"})
    record.end(COLUMNS)
    return record


def one_row(beta: float, chosen: Any, device: torch.device, at_best: dict[str, Any]) -> dict[str, Any]:
    geometry: Geometry = GEOMETRIES[chosen.geometry]
    tokens = chosen.completion_tokens or geometry.completion_tokens
    moments = moments_of(geometry, chosen.prompt_tokens or geometry.prompt_tokens)
    with tempfile.TemporaryDirectory() as folder:
        trainer, steps = trainer_of(geometry, beta, chosen, device, moments, tokens, folder)
        trainer.train()
    counted = steps[1:]
    seconds = {phase: statistics.median(clock.seconds.get(phase, 0.0) for clock in counted) for phase in counted[0].seconds}
    step_s = statistics.median(clock.seconds["step"] for clock in counted)
    seconds["rest"] = seconds.pop("step") - sum(seconds.values())
    prompt_tokens = trainer.prompt_tokens
    flops = forward_flops(geometry.sizes, [prompt_tokens] * chosen.prompts, [[tokens] * chosen.group] * chosen.prompts)
    train_s = seconds.get("scores", 0.0) + seconds["policy"]
    passes = useful_passes(has_reference=beta > 0, is_adapter=True, recomputes=True)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "image_tokens": moments * geometry.rows * geometry.columns // 4,
        "seconds": seconds,
        "step_s": step_s,
        "runs": len(counted),
        "no_grad_passes": trainer.no_grad_passes / len(steps),
        "peak_gib": max(max(clock.peak_bytes.values()) for clock in counted) / 2**30 if device.type == "cuda" else None,
        **{f"useful_mfu_{name}": flops * count / train_s / 1e12 / at_best["matmul_tflops"] for name, count in passes.items()},
    }


def timed_trainer(steps: list[Clock], beta: float, device: torch.device) -> Any:
    """TRL's class as it is, with its parts on clocks: one is added to `steps` for each step."""
    from trl import GRPOTrainer  # type: ignore[attr-defined]

    class Timed(GRPOTrainer):
        """The trainer as it is, with its parts on the clock."""

        prompt_tokens = 0
        no_grad_passes = 0
        loss_began = 0.0

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            steps.append(Clock(device))
            with steps[-1]("step"):
                loss = super().training_step(*args, **kwargs)
                synchronise()
                steps[-1].seconds["policy"] = time.perf_counter() - self.loss_began
            say(f"beta {beta}: step {len(steps)} took {steps[-1].seconds['step']:.1f} s")
            return loss

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            with nested(steps[-1], "rollout"):
                out = super()._generate(*args, **kwargs)
            self.prompt_tokens = len(out[0][0])
            return out

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                return super()._get_per_token_logps_and_entropies(*args, **kwargs)
            type(self).no_grad_passes += 1
            with nested(steps[-1], "scores"):
                return super()._get_per_token_logps_and_entropies(*args, **kwargs)

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            synchronise()
            self.loss_began = time.perf_counter()
            return super().compute_loss(*args, **kwargs)

    return Timed


def settings_of(chosen: Any, device: torch.device, beta: float, tokens: int, folder: str) -> Any:
    """TRL's configuration: the group, the length of completions, and nothing written."""
    from trl import GRPOConfig  # type: ignore[attr-defined]

    known = {field.name for field in dataclasses.fields(GRPOConfig)}
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"  # named anew in 5.23
    return GRPOConfig(
        output_dir=folder,
        max_steps=chosen.runs + 1,
        per_device_train_batch_size=chosen.group * chosen.prompts,
        num_generations=chosen.group,
        max_completion_length=tokens,
        generation_kwargs={"min_new_tokens": tokens},
        beta=beta,
        learning_rate=Settings().lr,
        bf16=device.type == "cuda",
        use_cpu=device.type == "cpu",
        **{checkpointing: True, f"{checkpointing}_kwargs": {"use_reentrant": False}},
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        loss_type="grpo",
        seed=chosen.seed,
    )


def trainer_of(
    geometry: Geometry, beta: float, chosen: Any, device: torch.device, moments: int, tokens: int, folder: str
) -> tuple[Any, list[Clock]]:
    """TRL's trainer over a random policy and random images, and the clocks that it fills, one a step."""
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText

    steps: list[Clock] = []
    config = hf_config(geometry)
    processing = processing_of(geometry, config)
    processing.tokenizer.padding_side = "left"
    with torch.device(device):
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
    if chosen.vision_path == "fast":
        batch_windows(model.model.visual, True)
        embed_by_product(model.model.visual)
        if kernels_work(device):
            attach(model.model.visual)
    model.warnings_issued = {}
    rank = chosen.lora_rank or geometry.lora_rank
    lora = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=rf".*language_model\.layers\.\d+\.\w+\.({'|'.join(PolicyConfig().lora_targets)})",
        task_type="CAUSAL_LM",
    )
    words = geometry.text_tokens - marks_of(processing.tokenizer, processing.family.chat_template, moments)
    questions = images_of(geometry, moments, max(1, words), chosen.prompts * (chosen.runs + 1), chosen.seed)
    trainer = timed_trainer(steps, beta, device)(
        model=model,
        processing_class=processing.processor,
        reward_funcs=random_reward,
        args=settings_of(chosen, device, beta, tokens, folder),
        train_dataset=questions,
        peft_config=lora,
    )
    return trainer, steps


@contextlib.contextmanager
def nested(clock: Clock, phase: str) -> Iterator[None]:
    """A phase within a phase: its seconds alone, the outer one's memory marks left as they are."""
    synchronise()
    began = time.perf_counter()
    yield
    synchronise()
    clock.seconds[phase] = clock.seconds.get(phase, 0.0) + time.perf_counter() - began


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def marks_of(tokenizer: Any, template: str, images: int) -> int:
    """Tokens that the chat has besides the question's and the images' own: its words, and the marks around each image."""
    content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": ""}]
    return len(tokenizer.encode(chat_of(template, [{"role": "user", "content": content}]))) - images


def images_of(geometry: Geometry, moments: int, words: int, count: int, seed: int) -> Any:
    """Rows of a question of so many letters, a token each, and its images of noise, as many patches as the video's moments."""
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature
    from PIL import Image

    draw = np.random.default_rng(seed)
    patch = geometry.config["vision_config"]["patch_size"]
    shape = (geometry.rows * patch, geometry.columns * patch, 3)
    text = "".join(chr(97 + k % 26) for k in range(words))
    rows = [
        {
            "prompt": [{"role": "user", "content": text}],
            "images": [Image.fromarray(draw.integers(0, 255, shape, dtype=np.uint8)) for _ in range(moments)],
        }
        for _ in range(count)
    ]
    features = Features({"prompt": List({"role": Value("string"), "content": Value("string")}), "images": List(ImageFeature())})
    return Dataset.from_list(rows, features=features)


def random_reward(completions: Sequence[Any], **_: Any) -> list[float]:
    return torch.rand(len(completions)).tolist()


if __name__ == "__main__":
    main()
