"""The judge by words: exact on the drawn world, stated limits on free text."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videochat_r1.judge.base import Question
from videochat_r1.judge.offline import OfflineJudge
from videochat_r1.rewards.events import (
    borne_out,
    content_words,
    event_precision,
    event_recall,
    harmonic,
    judged_precision,
    judged_recall,
    sentences,
    tells,
)
from videochat_r1.types import Verdict
from videochat_r1.world.scenes import COLOURS, SHAPES, WAYS


def drawn(rng):
    """Up to four events in the world's own clauses."""
    found = {f"a {rng.choice(list(COLOURS))} {rng.choice(SHAPES)} moves {rng.choice(WAYS)}" for _ in range(rng.randint(1, 4))}
    return tuple(sorted(found))


def spoken(events):
    return ". ".join(event[0].upper() + event[1:] for event in events) + "."


@pytest.mark.parametrize("joined", [spoken, lambda events: "; ".join(events), lambda events: "\n".join(events)])
def test_exact_on_the_drawn_world(joined):
    rng = random.Random(7)
    judge = OfflineJudge()
    for _ in range(400):
        truth, other = drawn(rng), drawn(rng)
        mixed = tuple(event for event in truth if rng.random() < 0.6) + tuple(event for event in other if rng.random() < 0.6)
        if not mixed:
            continue
        (verdict,) = judge.judge([Question(caption=joined(mixed), events=truth, reference=spoken(truth))], precision=True)
        assert judged_recall(verdict) == event_recall(joined(mixed), truth) == len(set(mixed) & set(truth)) / len(truth)
        assert judged_precision(verdict) == event_precision(joined(mixed), truth) == sum(event in truth for event in mixed) / len(mixed)


def test_two_events_in_one_sentence_do_not_lend_each_other_their_words():
    truth = ("a red circle moves left", "a blue square moves up")
    judge = OfflineJudge()

    def figures(caption):
        (verdict,) = judge.judge([Question(caption=caption, events=truth)], precision=True)
        return judged_recall(verdict), judged_precision(verdict)

    assert figures("A red circle moves left and a blue square moves up.") == (1.0, 1.0)
    assert figures("A red circle moves up while a blue square moves left.") == (0.0, 0.0)
    assert figures("A red circle moves left and a red square moves left.") == (0.5, 0.0)


@pytest.mark.parametrize(
    "sentence, event, told",
    [
        ("The dogs jumped over the fence.", "A dog jumps over a fence.", True),
        ("A man stands up and walks away.", "The man walks away.", True),
        ("A man in a long red coat slowly opens the old wooden gate.", "A man opens the gate.", False),  # too far apart
        ("The man opens the gate for the dog, which then runs into the yard.", "The dog runs into the yard.", True),
        ("Nobody opens the gate.", "A man opens the gate.", False),
        ("The man doesn't open the gate.", "The man opens the gate.", False),
        ("The man opens the gate, not the door.", "The man opens the gate.", True),
        ("The cat chases the dog.", "The dog chases the cat.", False),
        ("A hound leaps over the fence.", "A dog jumps over the fence.", False),  # a paraphrase: the limit of words
        ("She quickly ran home.", "She runs home.", False),  # an irregular form: the limit of endings
        ("A boy plays a red guitar on the big stage.", "A boy plays a red guitar on a stage.", True),
        ("A boy plays a guitar on a stage.", "A boy plays a red guitar on a stage.", True),  # four words of five
        ("", "A dog barks.", False),
    ],
)
def test_free_text(sentence, event, told):
    assert tells(content_words(sentence), content_words(event)) is told


@given(
    st.text(max_size=300),
    st.lists(st.text(min_size=1, max_size=60).filter(lambda text: any(map(str.isalnum, text))), min_size=1, max_size=5),
)
def test_it_never_fails(caption, events):
    (verdict,) = OfflineJudge().judge([Question(caption=caption, events=tuple(events))], precision=True)
    assert len(verdict.told) == len(events) and len(verdict.claims) == len(verdict.borne_out) and verdict.failure == ""
    assert 0.0 <= judged_recall(verdict) <= 1.0


def test_long_and_hostile_captions_take_no_time():
    events = tuple(f"a red circle moves left past a blue square number {number}" for number in range(10))
    texts = ["red " * 4000, "red circle moves blue " * 700, "a" * 16000, ". " * 8000, "no red not circle never " * 600]
    began = time.process_time()
    OfflineJudge().judge([Question(caption=text, events=events) for text in texts], precision=True)
    assert time.process_time() - began < 2.0


def test_a_truth_without_events_is_parted_into_sentences():
    (verdict,) = OfflineJudge().judge(
        [Question(caption="A dog barks.", events=(), reference="A dog barks. A cat sleeps!")], precision=False
    )
    assert verdict == Verdict(told=(True, False))
    with pytest.raises(ValueError, match="events or a description"):
        Question(caption="x", events=(), reference=" ")


def test_figures_of_a_verdict_by_hand():
    assert judged_recall(Verdict(told=(True, False, True, False))) == 0.5
    assert judged_precision(Verdict(told=(True,), claims=(), borne_out=())) == 1.0  # as AutoDQ's code counts
    assert harmonic(27.9, 33.8) == pytest.approx(30.6, abs=0.05)  # Qwen2.5-VL-7B on Dream-1K, as published
    assert harmonic(0.0, 0.0) == 0.0
    for broken in (Verdict(), Verdict(told=(True,))):
        with pytest.raises(ValueError):
            judged_precision(broken) if broken.told else judged_recall(broken)
    assert sentences("A dog barks at 3.5 s. It runs!") == ("A dog barks at 3.5 s", "It runs")
    assert not borne_out((), [("a",)])
