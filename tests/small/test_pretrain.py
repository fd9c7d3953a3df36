import json
from dataclasses import replace

import pytest
import torch
from tests.small.parts import clip_of, small_policy, small_tokenizer, tiny_small_model

from videochat_r1.policy.attention import SharedRow
from videochat_r1.policy.logprobs import logprobs
from videochat_r1.policy.prompt import encode_text, render_text
from videochat_r1.small.architecture import KINDS
from videochat_r1.small.curriculum import STAGES, TARGETS, Clipping, clippings
from videochat_r1.small.pretrain import InBfloat16, _Course, collate, learn, logits_of_answers

TOKENIZER = small_tokenizer()


def answers(policy, items, seed):
    """Logits and targets of each kind of lesson in a batch."""
    batch = collate(items, TOKENIZER, policy.hf_config)
    with torch.no_grad():
        logits, targets, kinds = logits_of_answers(
            policy.base, policy.processor.video_processor, batch, torch.Generator().manual_seed(seed)
        )
    return {kind: (logits[kinds == index], targets[kinds == index]) for index, kind in enumerate(batch.kinds)}


def item_with_several_lessons():
    return next(item for item in clippings(replace(TARGETS, videos=8), 1, 0) if len({one.kind for one in item.lessons}) == TARGETS.tails)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taught_is_what_the_product_asks(kind):
    """Same ids, positions and pixels: log-probabilities of the lessons' answers equal those of the rendered prompt, by the stock model."""
    policy, item = small_policy(kind=kind), item_with_several_lessons()
    together = answers(policy, [item], seed=item.scene.grain_seed)
    for lesson in item.lessons:
        prompt = render_text(policy, lesson.question, clip_of(item.scene, item.times_s), order="video_first", sample_id="x")
        completion = encode_text(policy, lesson.answer)
        alone = collate([replace(item, lessons=(lesson,))], TOKENIZER, policy.hf_config)
        assert alone.ids_L.tolist() == [*prompt.ids_P.tolist(), *completion.ids_T.tolist()]
        assert torch.equal(alone.positions_3L[:, : len(prompt)], prompt.positions_3P)
        logits, targets = together[lesson.kind]
        assert targets.tolist() == completion.ids_T.tolist()
        taught = logits.log_softmax(-1)[range(len(targets)), targets]
        stock = logprobs(policy, prompt, [completion]).logprobs[0]
        assert taught.tolist() == pytest.approx(stock.tolist(), abs=2e-5)


def test_a_question_does_not_see_the_others_nor_other_videos():
    policy, item = small_policy(), item_with_several_lessons()
    together = answers(policy, [item], seed=5)
    beside = collate([item, item], TOKENIZER, policy.hf_config)
    with torch.no_grad():  # the second's grain differs, and the first's answers do not
        logits, _, kinds = logits_of_answers(policy.base, policy.processor.video_processor, beside, torch.Generator().manual_seed(5))
    for index, kind in enumerate(beside.kinds):
        both = logits[kinds == index]
        assert torch.allclose(both[: len(both) // 2], together[kind][0], atol=1e-5)
        assert not torch.equal(both[: len(both) // 2], both[len(both) // 2 :])
    for order in (item.lessons[:1], item.lessons[1:3], item.lessons[::-1]):
        for kind, (logits, targets) in answers(policy, [replace(item, lessons=tuple(order))], seed=5).items():
            assert torch.equal(targets, together[kind][1])
            assert torch.allclose(logits, together[kind][0], atol=1e-5)
    changed = replace(item.lessons[0], question="Another one?", answer="yes")
    others = answers(policy, [replace(item, lessons=(changed, *item.lessons[1:]))], seed=5)
    for lesson in item.lessons[1:]:
        assert lesson.kind == changed.kind or torch.allclose(others[lesson.kind][0], together[lesson.kind][0], atol=1e-5)


def test_an_answer_weighs_by_its_length_as_stated():
    item = item_with_several_lessons()
    config = small_policy().hf_config
    even, squared = (collate([item], TOKENIZER, config, power) for power in (0.0, 0.5))
    assert set(even.weight_L.tolist()) == {0.0, 1.0}
    own, start = [], squared.prompts[0]
    for lesson, tokens in zip(item.lessons, squared.tails[0], strict=True):
        length = len(TOKENIZER.encode(lesson.answer, add_special_tokens=False)) + 1
        own += [0.0] * (tokens - length) + [length**-0.5] * length
    assert squared.weight_L.tolist() == pytest.approx([0.0] * start + own)


@pytest.mark.parametrize("kind", KINDS)
def test_two_steps_of_each_stage(tmp_path, capsys, kind):
    stages = [replace(stage, steps=2, videos=4) for stage in STAGES]
    weights, saved = [], []
    for run in range(2):
        model, log = tiny_small_model(kind=kind), tmp_path / f"{run}.jsonl"
        with torch.random.fork_rng(devices=[]):
            learn(model, TOKENIZER, stages, seed=1, device="cpu", workers=0, log=log, on_stage=lambda: saved.append(1))
        weights.append({name: weight.detach().clone() for name, weight in model.named_parameters()})
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(row["stage"], row["step"]) for row in rows] == [(stage.name, 2) for stage in stages]
        for row, stage in zip(rows, stages, strict=True):
            assert 0 < row["loss"] < 10 and set(row["kinds"]) <= set(stage.lessons)
            assert all(0 <= counts["token_accuracy"] <= 1 for counts in row["kinds"].values())
    assert len(saved) == 2 * len(stages)
    start = dict(tiny_small_model(kind=kind).named_parameters())
    for name, weight in weights[0].items():
        assert torch.isfinite(weight).all() and torch.equal(weight, weights[1][name])
    assert sum(not torch.equal(weight, start[name]) for name, weight in weights[0].items()) > 0.9 * len(start)
    assert capsys.readouterr().out.count("\n") == 2 * len(stages)


def test_a_pause_where_the_learning_rate_changes_leaves_no_trace(tmp_path):
    stages = [replace(stage, steps=2, videos=4) for stage in STAGES[-2:]]
    assert stages[0].lr != stages[1].lr
    weights = []
    for parts in ([stages], [stages[:1], stages[1:]]):
        model = tiny_small_model()
        for part in parts:
            learn(model, TOKENIZER, part, seed=1, device="cpu", workers=0, log=tmp_path / "log.jsonl")
        weights.append(list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_attention_in_bfloat16_is_the_same_but_for_rounding():
    policy, item = small_policy(), item_with_several_lessons()
    batch = collate([item], TOKENIZER, policy.hf_config)
    row, shape = SharedRow(batch.prompts, batch.tails, torch.device("cpu")), (1, 4, len(batch.ids_L), 16)
    q, k, v = (torch.randn(shape, generator=torch.Generator().manual_seed(seed), requires_grad=True) for seed in range(3))
    exact, low = (layout.attend(0, q, k, v, 0.25) for layout in (row, InBfloat16(row)))
    assert low.dtype == torch.float32 and 0 < float(((exact - low).norm() / exact.norm()).detach()) < 0.02
    for whole, rounded in zip(*(torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (exact, low)), strict=True):
        assert rounded.dtype == torch.float32 and float((whole - rounded).norm() / whole.norm()) < 0.03


def test_a_short_course_lowers_the_loss():
    policy = small_policy()
    items = [Clipping(item.scene, item.times_s, item.lessons[:2]) for item in clippings(replace(STAGES[0], videos=4), 1, 0)]
    batch = collate(items, TOKENIZER, policy.hf_config)
    course, losses = _Course(policy.base, 1e-2, 25), []
    for parameter in policy.base.parameters():
        parameter.requires_grad_(True)
    for _ in range(25):
        logits, targets, _ = logits_of_answers(policy.base, policy.processor.video_processor, batch, torch.Generator().manual_seed(0))
        loss = torch.nn.functional.cross_entropy(logits, targets)
        course.step(loss)
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
