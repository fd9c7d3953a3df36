"""One gradient, however the batch is cut: against the plain forward, between splits, through a trained tower, and after memory gave out."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny_clip, tiny_completion, tiny_policy, tiny_prompt

from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo import update
from videochat_r1.grpo.config import GrpoConfig, TrainConfig
from videochat_r1.grpo.loss import grpo_loss_T, token_weights
from videochat_r1.grpo.metrics import loss_of
from videochat_r1.grpo.optimizer import Optimizer
from videochat_r1.grpo.update import Learner, Lesson, Piece, micro_batches
from videochat_r1.policy.logprobs import logprobs

TEXTS = [["<answer>0.5 to 1.5</answer>", "no", "about 3 seconds in"], ["yes", "<answer>1.0 to 2.0</answer> and more", "??"]]
ADVANTAGES = [[1.2, -0.7, 0.4], [-1.0, 0.9, 0.0]]


def lesson_of(policy, config=None, *, learner=None):
    config = config or GrpoConfig()
    prompts = [tiny_prompt(policy, f"question {index}?", clip=tiny_clip(frames=2, height=16, width=16, seed=index)) for index in range(2)]
    completions = [[tiny_completion(policy, text) for text in texts] for texts in TEXTS]
    flat = token_weights([len(each) for group in completions for each in group], [True] * 6, config.aggregation, 20)
    with torch.no_grad():
        features = policy.vision(prompts)
    reference = learner.reference_logprobs(prompts, completions, features) if learner and config.kl_weight else None
    return Lesson(prompts=prompts, completions=completions, weights=[flat[:3], flat[3:]], advantages=ADVANTAGES, reference=reference)


def learner_of(policy, token_budget=10_000, config=None):
    return Learner(policy, Optimizer(policy.parameters(), TrainConfig()), config or GrpoConfig(), token_budget)


def gradients(policy):
    return {name: weight.grad.clone() for name, weight in policy.parameters().items() if weight.grad is not None}


def assert_same(first, second, tolerance=1e-5):
    assert first.keys() == second.keys()
    largest = max(float(each.abs().max()) for each in second.values())
    assert largest > 1e-3
    for name, gradient in first.items():
        assert float((gradient - second[name]).abs().max()) <= tolerance * largest, name


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {}, {"train_vision": True}], ids=["lora", "full", "full with tower"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_gradient_is_that_of_the_plain_forward(family, options):
    policy = tiny_policy(family, **options)
    with torch.no_grad():  # away from the reference, so the KL has a gradient
        for weight in policy.parameters().values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    learner = learner_of(policy)
    lesson = lesson_of(policy, learner=learner)
    watched = learner.gradient(lesson, policy.vision(lesson.prompts))
    ours = gradients(policy)

    learner.optimizer.clear()
    total = torch.zeros(())
    for group, prompt in enumerate(lesson.prompts):
        with torch.no_grad(), policy.reference():
            reference = logprobs(policy, prompt, lesson.completions[group])
        scores = logprobs(policy, prompt, lesson.completions[group])
        for index, logprobs_T in enumerate(scores.logprobs):
            losses = grpo_loss_T(logprobs_T, None, reference.logprobs[index], ADVANTAGES[group][index], learner.config)
            total = total + losses.loss_T.sum() * lesson.weights[group][index]
    total.backward()
    assert_same(ours, gradients(policy), 1e-4)
    assert loss_of(watched, lesson.weights) == pytest.approx(total.item(), abs=1e-5)
    kl_T = torch.cat([each.losses.kl_T for group in watched for each in group])
    assert kl_T.max() > 1e-5


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "constant_length"])
@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"train_vision": True}], ids=["lora", "trained tower"])
def test_the_gradient_does_not_depend_on_the_split(aggregation, options):
    policy = tiny_policy("qwen3_vl", **options)
    config = GrpoConfig(aggregation=aggregation)
    found = []
    for budget in (10_000, 150, 60, 1):
        learner = learner_of(policy, budget, config)
        lesson = lesson_of(policy, config, learner=learner)
        watched = learner.gradient(lesson, policy.vision(lesson.prompts))
        found.append((gradients(policy), loss_of(watched, lesson.weights), len(micro_batches(lesson.prompts, lesson.completions, budget))))
        learner.optimizer.clear()
    assert [passes for _, _, passes in found][0] == 1
    assert [passes for _, _, passes in found][-1] == 6
    assert len({passes for _, _, passes in found}) >= 3
    for own, loss, _ in found[1:]:
        assert_same(own, found[0][0])
        assert loss == pytest.approx(found[0][1], abs=1e-6)


def test_pieces_fill_the_budget_in_order():
    class Long:
        def __init__(self, length):
            self.length = length

        def __len__(self):
            return self.length

    prompts = [Long(10), Long(10)]
    completions = [[Long(3), Long(3), Long(3)], [Long(5)]]  # 10 + 2 + 2 + 2 tokens in a row, and 10 + 4
    assert micro_batches(prompts, completions, 30) == [[Piece(0, 0, 3), Piece(1, 0, 1)]]
    assert micro_batches(prompts, completions, 29) == [[Piece(0, 0, 3)], [Piece(1, 0, 1)]]
    assert micro_batches(prompts, completions, 14) == [[Piece(0, 0, 2)], [Piece(0, 2, 3)], [Piece(1, 0, 1)]]
    assert micro_batches(prompts, completions, 1) == [[Piece(0, 0, 1)], [Piece(0, 1, 2)], [Piece(0, 2, 3)], [Piece(1, 0, 1)]]


def scarce(monkeypatch, at_most):
    """Memory for so many completions in a pass; counts passes that were refused."""
    real, refused = update.shared_logprobs, []

    def scored(policy, prompts, completions, features):
        if sum(map(len, completions)) > at_most:
            refused.append(sum(map(len, completions)))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(policy, prompts, completions, features)

    monkeypatch.setattr(update, "shared_logprobs", scored)
    return refused


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"train_vision": True}], ids=["lora", "trained tower"])
def test_out_of_memory_takes_smaller_passes_to_the_same_gradient(monkeypatch, caplog, options):
    policy = tiny_policy("qwen2_5_vl", **options)
    learner = learner_of(policy)
    lesson = lesson_of(policy, learner=learner)
    learner.gradient(lesson, policy.vision(lesson.prompts))
    whole = gradients(policy)
    learner.optimizer.clear()
    refused = scarce(monkeypatch, at_most=2)
    lesson = lesson_of(policy, learner=learner)  # the reference pass meets it too
    learner.gradient(lesson, policy.vision(lesson.prompts))
    assert refused
    assert_same(gradients(policy), whole)
    assert learner.token_budget < 10_000
    assert "Out of GPU memory" in caplog.text


def test_out_of_memory_in_the_middle_leaves_no_half_gradient(monkeypatch):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    learner = learner_of(policy)
    lesson = lesson_of(policy, learner=learner)
    features = policy.vision(lesson.prompts)
    learner.gradient(lesson, features)
    whole = gradients(policy)
    learner.token_budget = 150
    assert len(micro_batches(lesson.prompts, lesson.completions, 150)) > 1
    real, calls = update.shared_logprobs, []

    def second_fails(*args):
        calls.append(args)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*args)

    monkeypatch.setattr(update, "shared_logprobs", second_fails)
    learner.gradient(lesson, features)
    assert_same(gradients(policy), whole)


def test_no_memory_for_one_completion_is_a_clean_stop(monkeypatch):
    policy = tiny_policy("qwen2_5_vl", lora_rank=2)
    learner = learner_of(policy)
    lesson = lesson_of(policy)
    scarce(monkeypatch, at_most=0)
    with pytest.raises(EnvironmentFault, match="rollout.max_tokens") as stop:
        learner.gradient(lesson, policy.vision(lesson.prompts))
    assert stop.value.exit_code == 4


def test_a_trained_tower_is_passed_once_and_the_reference_sees_with_its_own():
    policy = tiny_policy("qwen2_5_vl", train_vision=True)
    learner = learner_of(policy, token_budget=1)
    lesson = lesson_of(policy)
    policy.counters.clear()
    learner.gradient(lesson, policy.vision(lesson.prompts))
    assert policy.counters["vision_passes"] == 2  # two prompts, six passes of the language model
    with torch.no_grad():
        for name, weight in policy.parameters().items():
            if "visual" in name:
                weight.add_(0.05)
        features = policy.vision(lesson.prompts)
    before = learner_of(tiny_policy("qwen2_5_vl", train_vision=True)).reference_logprobs(lesson.prompts, lesson.completions, features)
    after = learner.reference_logprobs(lesson.prompts, lesson.completions, features)
    for own, other in zip((each for group in after for each in group), (each for group in before for each in group), strict=True):
        torch.testing.assert_close(own, other)
