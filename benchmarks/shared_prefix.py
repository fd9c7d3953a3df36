"""The demo's step with its prompts read once, against the same step with one row a completion and the stock `generate`.

    python benchmarks/shared_prefix.py [--prompts 8] [--group 8] [--runs 5] [--threads 2]

The shipped small model on tracking questions of the built-in world; medians of whole phases, after one warm-up. Correctness is checked
first: both ways must give the same log-probabilities."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from videochat_r1.policy.config import PolicyConfig
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.model import load_policy
from videochat_r1.policy.prompt import render
from videochat_r1.policy.shared_prefix import shared_logprobs
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.small import SMALL_MODEL, SMALL_VIDEO
from videochat_r1.tasks.base import Asking, load_task
from videochat_r1.video.clips import ClipLoader
from videochat_r1.world.files import film_samples, scenes_for

MAX_TOKENS = 96


def median_s(work: Callable[[], object], runs: int) -> float:
    """Median seconds of a phase, after one run that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    policy = load_policy(PolicyConfig(path=str(SMALL_MODEL), device="cpu"), keep_reference=False)
    engine, loader, task = NativeEngine(policy), ClipLoader(SMALL_VIDEO, policy.geometry), load_task("tracking")
    sampling = Sampling(max_tokens=MAX_TOKENS, batch_prompts=chosen.prompts)
    with tempfile.TemporaryDirectory() as folder:
        samples = film_samples(scenes_for(("tracking",), "easy", "train", 0, chosen.prompts), Path(folder))
        prompts = [render(policy, task, one, loader.load(task, one), Asking(order="video_first")) for one in samples]
    seeds = list(range(len(prompts)))
    completions = engine.complete(prompts, per_prompt=chosen.group, sampling=sampling, seeds=seeds)
    weights = list(policy.parameters().values())

    def shared() -> None:
        scores = shared_logprobs(policy, prompts, completions, policy.vision(prompts))
        torch.stack([each.sum() for group in scores for each in group.logprobs]).sum().backward()

    def repeated() -> None:
        for prompt, group in zip(prompts, completions, strict=True):
            torch.stack([each.sum() for each in logprobs(policy, prompt, group).logprobs]).sum().backward()

    def stock_rollout() -> None:
        for prompt in prompts:
            rows = chosen.group
            policy.base.generate(
                input_ids=prompt.ids_P.expand(rows, -1),
                attention_mask=torch.ones((rows, len(prompt)), dtype=torch.int64),
                mm_token_type_ids=(prompt.ids_P == policy.hf_config.video_token_id).long().mul(2).expand(rows, -1),
                pixel_values_videos=prompt.patches.repeat(rows, 1),
                video_grid_thw=torch.tensor([prompt.grid_thw] * rows),
                do_sample=True,
                top_k=0,
                max_new_tokens=MAX_TOKENS,
            )

    def cleared(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            work()
            for weight in weights:
                weight.grad = None

        return run

    with torch.no_grad():
        once = shared_logprobs(policy, prompts, completions, policy.vision(prompts))
        gap = max(
            float((a - b).abs().max())
            for prompt, group, scores in zip(prompts, completions, once, strict=True)
            for a, b in zip(logprobs(policy, prompt, group).logprobs, scores.logprobs, strict=True)
        )
    assert gap < 1e-4, f"the two ways differ by {gap}"
    tokens = sum(len(each) for group in completions for each in group)
    figures = {
        "prompts": len(prompts),
        "group": chosen.group,
        "prompt_tokens": len(prompts[0]),
        "completion_tokens": round(tokens / len(prompts) / chosen.group, 1),
        "max_abs_logprob_gap": gap,
        "policy_shared_s": median_s(cleared(shared), chosen.runs),
        "policy_repeated_s": median_s(cleared(repeated), chosen.runs),
        "rollout_native_s": median_s(
            lambda: engine.complete(prompts, per_prompt=chosen.group, sampling=sampling, seeds=seeds), chosen.runs
        ),
        "rollout_stock_generate_s": median_s(stock_rollout, max(chosen.runs // 2, 1)),
        "threads": chosen.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    figures["policy_times"] = figures["policy_repeated_s"] / figures["policy_shared_s"]
    figures["rollout_times"] = figures["rollout_stock_generate_s"] / figures["rollout_native_s"]
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
