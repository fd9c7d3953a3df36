"""Work ahead of its use: order, bounds, faults in their place, threads that end, and a step that does not wait for its data."""

from __future__ import annotations

import threading
import time

import pytest
from tests.grpo.small_run import DrawnLoader, letters, small_trainer
from tests.tiny import tiny_policy

from videochat_r1.grpo.ahead import ahead
from videochat_r1.grpo.log import RunFolder, read_rows
from videochat_r1.grpo.order import Source
from videochat_r1.video.sampling import VideoConfig


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "prepare"]


def counted(count, made, closed, fault=None):
    try:
        for number in range(count):
            made.append(number)
            yield number
        if fault is not None:
            raise fault
    finally:
        closed.append(threading.current_thread().name)


def test_items_come_in_order_and_the_thread_ends():
    made, closed = [], []
    assert list(ahead(counted(20, made, closed), depth=3)) == list(range(20))
    assert closed == ["prepare"] and not alive()


def test_no_more_is_made_ahead_than_the_depth():
    made, closed = [], []
    items = ahead(counted(20, made, closed), depth=3)
    assert made == []  # nothing before it is asked for
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]  # one taken, three ready, one in work
    items.close()
    assert closed == ["prepare"] and not alive()


def test_a_fault_comes_after_the_items_before_it():
    items = ahead(counted(2, [], [], ValueError("third")), depth=5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(items)
    assert not alive()


class SlowLoader(DrawnLoader):
    def load(self, task, sample):
        time.sleep(0.1)
        return super().load(task, sample)


def test_a_step_that_is_longer_than_decoding_does_not_wait_for_its_data(tmp_path):
    with RunFolder(tmp_path) as folder:
        trainer = small_trainer(folder, sources=[Source(samples=letters(6))], train={"steps": 5, "prompts_per_step": 2})
        trainer.loader = SlowLoader(VideoConfig(prefetch_threads=1, prefetch_clips=1), tiny_policy("qwen2_5_vl").geometry)
        trainer.on_step = lambda row: time.sleep(0.5)  # the device at work, outside of the clock of a step
        trainer.run()
    waits = [row["seconds/data"] for row in read_rows(tmp_path / "metrics.jsonl")]
    assert waits[0] > 0.2  # the first batch takes two clips of 0.1 s, and nothing runs beside it
    assert sorted(waits[1:])[1] < 0.05
    assert not alive()
