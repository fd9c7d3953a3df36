"""Events told in a text."""

import pytest

from videochat_r1.rewards.events import event_precision, event_recall

EVENTS = ("A red circle appears.", "the red circle moves left", "a blue square vanishes")


@pytest.mark.parametrize(
    "text, recall, precision",
    [
        ("A red circle appears. The red circle moves left. A blue square vanishes.", 1.0, 1.0),
        ("a   RED circle appears,  then: the red-circle moves left", 2 / 3, 1.0),
        ("a red circle\nappears, then the red circle moves left", 2 / 3, 0.5),
        ("a red circle appears; a dog barks", 1 / 3, 0.5),
        ("a bored circle appears", 0.0, 0.0),
        ("red circle appears", 0.0, 0.0),
        ("a red circle appears a red circle appears", 1 / 3, 1.0),
        ("", 0.0, 0.0),
        ("...", 0.0, 0.0),
    ],
)
def test_recall_and_precision(text, recall, precision):
    assert event_recall(text, EVENTS) == pytest.approx(recall)
    assert event_precision(text, EVENTS) == pytest.approx(precision)


@pytest.mark.parametrize("events", [None, (), ("a dog", "...")])
def test_a_truth_at_fault_raises(events):
    for measure in (event_recall, event_precision):
        with pytest.raises(ValueError, match="at least"):
            measure("a dog", events)
