import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from videochat_r1.background import helpers_begin


@pytest.fixture
def threads():
    """A thread count that the test may change."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_helpers_leave_the_processors_to_the_thread_that_computes(threads, monkeypatch):
    torch.set_num_threads(3)
    for processors, share in ((1, 1), (2, 1), (8, 2), (64, 3)):  # never more than the thread has by itself
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False)
        with ThreadPoolExecutor(2, initializer=helpers_begin()) as pool:
            assert {pool.submit(torch.get_num_threads).result() for _ in range(4)} == {share}
        assert torch.get_num_threads() == 3
        torch.set_num_threads(3)  # for threads that come later, as a program does that has set it once


def test_a_thread_that_never_computed_keeps_its_number_when_it_starts_helpers(threads):
    torch.set_num_threads(2)
    seen = []

    def compute():
        with ThreadPoolExecutor(1, initializer=helpers_begin()) as pool:
            pool.submit(int).result()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert seen == [2]
