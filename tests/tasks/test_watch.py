"""A function of a user's own task that takes long is told while it runs, whatever it does."""

import signal
import threading
import time

import pytest
from tests.command_line import ran
from tests.tasks.test_own_file import SAMPLE, own_task, rows

from videochat_r1.tasks.base import Asking, watch
from videochat_r1.tasks.base.loading import load_task

SLOW = {
    "sleeps": "__import__('time').sleep(0.3)",
    "computes": "sum(1 for _ in range(5_000_000))",
    "matches": "__import__('re').match('(a+)+$', 'a' * 23 + 'b')",
}


pytestmark = pytest.mark.timeout(60, method="thread")  # the other method takes the alarm


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(watch, "TELL_AFTER_S", 0.05)


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_reader_that_hangs_is_told_with_its_sample(capsys, tmp_path, slow):
    path = own_task(tmp_path, "return Reading(", f"{slow}; return Reading(")
    tokens = rows(tmp_path)
    for name in ("rows.jsonl", "said.jsonl"):  # two samples: the first is told
        row = (tmp_path / name).read_text()
        (tmp_path / name).write_text(row + row.replace("a-1", "a-2"))
    code, _, err = ran(capsys, "score", tmp_path / "said.jsonl", *tokens, "--task", path)
    assert code == 0
    assert err.splitlines() == [f"{path}: read has been running for 0.05 s, on sample a-1; Ctrl-C ends it."]


def test_a_quick_one_is_not_told_and_the_alarm_is_as_before(tmp_path, caplog):
    load_task(own_task(tmp_path)).read("3", SAMPLE, Asking())
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    time.sleep(0.1)  # an alarm that was left on would end the tests
    assert not caplog.messages


def test_an_alarm_of_the_functions_own_stays_its_own(tmp_path):
    own = "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.alarm(60)"
    load_task(own_task(tmp_path, "return Reading(", f"{own}; return Reading(")).read("3", SAMPLE, Asking())
    assert signal.alarm(0) > 50
    assert signal.signal(signal.SIGALRM, signal.SIG_DFL) is signal.SIG_IGN


def test_other_threads_may_call_too(tmp_path):
    task, found = load_task(own_task(tmp_path)), []
    thread = threading.Thread(target=lambda: found.append(task.ask(SAMPLE, Asking())))
    thread.start()
    thread.join()
    assert found == [SAMPLE.question]
