"""The order of samples: every sample in its turn, sources in their shares, and a place in it is one integer."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from videochat_r1.errors import DataError
from videochat_r1.grpo.order import Order, Source
from videochat_r1.types import Answer, Sample


def samples(name, count):
    return [Sample(id=f"{name}/{index}", task=name, video="", question="", truth=Answer()) for index in range(count)]


def ids(order, start, count):
    return [turn.sample.id for turn in islice(order.turns(start), count)]


def test_an_epoch_visits_every_sample_once():
    order = Order([Source(samples=samples("a", 30)), Source(samples=samples("b", 10))], seed=1)
    for epoch in range(3):
        assert sorted(ids(order, epoch * 40, 40)) == sorted(sample.id for source in order.sources for sample in source.samples)
    assert ids(order, 0, 40) != ids(order, 40, 40)


def test_weights_are_visits_an_epoch():
    order = Order([Source(samples=samples("a", 10), weight=2.0), Source(samples=samples("b", 10), weight=0.5)], seed=1)
    assert len(order) == 25
    counts = Counter(ids(order, 0, 50))
    assert {counts[f"a/{index}"] for index in range(10)} == {4}
    assert {counts[f"b/{index}"] for index in range(10)} == {1}  # two epochs of half of them: each once, none twice


def test_visits_tell_one_turn_of_a_sample_from_another():
    order = Order([Source(samples=samples("a", 7), weight=1.5), Source(samples=samples("b", 3))], seed=4)
    turns = list(islice(order.turns(0), 200))
    assert len({(turn.sample.id, turn.visit) for turn in turns}) == 200


def test_every_batch_has_each_source_in_its_share():
    order = Order([Source(samples=samples("a", 300)), Source(samples=samples("b", 100))], seed=2)
    order_ids = ids(order, 0, 400)
    for start in range(0, 400, 40):
        assert 7 <= sum(each.startswith("b") for each in order_ids[start : start + 40]) <= 13


def test_a_position_is_the_whole_state():
    sources = [Source(samples=samples("a", 9)), Source(samples=samples("b", 4), weight=1.7)]
    whole = ids(Order(sources, seed=3), 0, 60)
    for position in (0, 1, 15, 16, 17, 43):
        assert ids(Order(sources, seed=3), position, 60 - position) == whole[position:]
    assert ids(Order(sources, seed=4), 0, 60) != whole


@pytest.mark.parametrize("sources", [[], [Source(samples=[])], [Source(samples=samples("a", 1), weight=0.0)]])
def test_nothing_to_train_on_is_said(sources):
    with pytest.raises(DataError):
        Order(sources, seed=0)
