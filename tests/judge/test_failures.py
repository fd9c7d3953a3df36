"""A judge's endpoint fails in every way that endpoints do: what is judged is right, the rest is said to be unjudged, and nothing hangs."""

import time

import pytest
from tests.judge.fake_server import FakeJudge

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.judge.base import Question
from videochat_r1.judge.config import JudgeConfig
from videochat_r1.judge.endpoint import EndpointJudge
from videochat_r1.types import Verdict

SAMPLE = Question(caption="A red circle moves left. A dog barks.", events=("A red circle moves left.", "A blue square moves up."))
RIGHT = Verdict(told=(True, False))
WHOLE = Verdict(told=(True, False), claims=("A red circle moves left", "A dog barks"), borne_out=(True, False))


def settings(url, **fields):
    small = {"model": "fake", "api_key_env": ""}
    small |= {
        "call_deadline_s": 5.0,
        "batch_deadline_s": 20.0,
        "attempts": 3,
        "backoff_s": 0.01,
        "canary_every": 0,
        "breaker_pause_s": 0.05,
    }
    return JudgeConfig(kind="openai", base_url=url, **{**small, **fields})


def asked(fake, *, questions=(SAMPLE,), precision=False, **fields):
    judge = EndpointJudge(settings(fake.url, **fields))
    return judge.judge(list(questions), precision=precision), judge.figures()


TRANSIENT = {
    "429": "http_429",
    "429_later": "http_429",
    "429_nonsense": "http_429",
    "500": "http_500",
    "503": "http_503",
    "reset": "connection",
    "cut_body": "connection",
    "garbage_line": "connection",
}
FINAL = {
    "redirect": "http_302",
    "bad_request": "http_400",
    "context_length": "context_length",
    "filtered_request": "content_filter",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "length": "truncated",
    "tool_calls": "stopped",
    "empty": "empty",
    "html": "not_json",
    "cut_envelope": "not_json",
    "no_choices": "wrong_envelope",
    "two_choices": "wrong_envelope",
    "null_content": "wrong_envelope",
    "array": "wrong_envelope",
    "not_utf8": "not_utf8",
    "huge": "too_large",
    "gzip_bomb": "compressed",
    "gzip_huge": "compressed",
    "truncated_json": "not_json",
    "two_objects": "not_json",
    "fenced": "not_json",
    "prose": "not_json",
    "deep": "not_json",
    "nan": "not_finite",
    "duplicate_key": "duplicate_key",
    "wrong_schema": "wrong_schema",
    "extra_field": "wrong_schema",
    "text_id": "wrong_schema",
    "missing_label": "wrong_count",
    "one_label_too_many": "wrong_count",
    "duplicate_id": "wrong_ids",
    "wrong_id": "wrong_ids",
    "unknown_label": "unknown_label",
    "obeys_all": "canary",
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_passes_is_tried_again(fault):
    with FakeJudge([fault]) as fake:
        verdicts, figures = asked(fake)
    assert verdicts == [RIGHT]
    assert (figures["calls"], figures["retries"], figures["failed"]) == (2, 1, 0)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_does_not_pass_is_unjudged_after_its_tries(fault):
    with FakeJudge(always=fault) as fake:
        verdicts, figures = asked(fake)
    assert verdicts == [Verdict(failure=TRANSIENT[fault])]
    assert (figures["calls"], figures["failed"], figures[f"failed/{TRANSIENT[fault]}"]) == (3, 1, 1)


@pytest.mark.parametrize("fault", FINAL)
def test_a_reply_out_of_form_is_no_judgement_and_not_asked_again(fault):
    with FakeJudge([fault]) as fake:
        verdicts, figures = asked(fake)
    assert verdicts == [Verdict(failure=FINAL[fault])]
    assert (figures["calls"], figures["retries"]) == (1, 0)


@pytest.mark.parametrize("fault", ["silence", "slow_drip"])
def test_a_call_ends_at_its_deadline(fault):
    began = time.monotonic()
    with FakeJudge([fault]) as fake:
        verdicts, figures = asked(fake, call_deadline_s=1.0)
    assert verdicts == [RIGHT] and figures["retries"] >= 1  # a later try was answered
    assert time.monotonic() - began < 10.0


def test_a_batch_ends_at_its_deadline_and_keeps_what_was_judged():
    others = [Question(caption=f"A dog barks {number} times.", events=("A dog barks.",)) for number in range(6)]
    with FakeJudge(["", "silence", "silence"]) as fake:
        began = time.monotonic()
        verdicts, figures = asked(fake, questions=others, concurrency=3, batch_deadline_s=2.5, call_deadline_s=30.0)
        took = time.monotonic() - began
    assert took < 2.5 + 1.0 + 2.0  # the last for a busy machine
    assert sorted(verdict.failure for verdict in verdicts) == ["", "", "", "", "batch_deadline", "batch_deadline"]
    assert figures["failed/batch_deadline"] == 2


def test_nobody_listens():
    with FakeJudge() as fake:
        url = fake.url
    judge = EndpointJudge(settings(url))
    assert judge.judge([SAMPLE], precision=False) == [Verdict(failure="connection")]


@pytest.mark.parametrize(
    "fault, kind, said",
    [("401", EnvironmentFault, "HTTP 401"), ("quota", EnvironmentFault, "no credit"), ("no_model", UsageError, "no model 'fake'")],
)
def test_what_the_user_must_mend_stops_at_once_in_two_lines(fault, kind, said):
    many = [Question(caption=f"A dog barks {number} times.", events=("A dog barks.",)) for number in range(30)]
    with FakeJudge(always=fault) as fake, pytest.raises(kind) as stopped:
        asked(fake, questions=many, concurrency=2)
    assert said in str(stopped.value) and len(str(stopped.value).splitlines()) <= 2
    assert "sk-echoed-key" not in str(stopped.value)
    assert len(fake.requests) < 30


def test_a_failure_stops_the_run_where_the_recipe_says_so():
    with FakeJudge(["extra_field"]) as fake, pytest.raises(EnvironmentFault, match="1 of 1 captions could not be judged"):
        asked(fake, on_failure="stop")


def test_one_failed_call_of_three_leaves_the_whole_caption_unjudged():
    for place in range(3):
        with FakeJudge(["", "", ""][:place] + ["wrong_schema"]) as fake:
            verdicts, _ = asked(fake, precision=True, concurrency=1)
        assert verdicts == [Verdict(failure="wrong_schema")], place
    with FakeJudge() as fake:
        assert asked(fake, precision=True)[0] == [WHOLE]


def test_one_caption_in_trouble_does_not_touch_the_others():
    others = [Question(caption=f"A dog barks {number} times.", events=("A dog barks.", "A cat sleeps.")) for number in range(8)]
    with FakeJudge(["", "extra_field", "", "prose", "500"]) as fake:
        verdicts, figures = asked(fake, questions=others, concurrency=1)
    lost = [verdict.failure for verdict in verdicts if verdict.failure]
    assert sorted(lost) == ["not_json", "wrong_schema"] and figures["failed"] == 2
    assert [verdict for verdict in verdicts if not verdict.failure] == [Verdict(told=(True, False))] * 6


def test_an_outage_pauses_the_calls_and_ends_with_one_that_tries():
    many = [Question(caption=f"A dog barks {number} times.", events=("A dog barks.",)) for number in range(12)]
    with FakeJudge(["503"] * 5) as fake:
        judge = EndpointJudge(settings(fake.url, concurrency=4, attempts=6, breaker_failures=3, breaker_pause_s=0.3))
        verdicts = judge.judge(many, precision=False)
    assert all(verdict == Verdict(told=(True,)) for verdict in verdicts)
    assert judge.breaker.times_opened >= 1 and not judge.breaker.is_open


def test_an_outage_that_lasts_is_said_to_be_one():
    with FakeJudge(always="503") as fake:
        fields = {"breaker_failures": 2, "breaker_pause_s": 30.0, "batch_deadline_s": 0.7, "attempts": 50}
        verdicts, _ = asked(fake, **fields)
    assert verdicts == [Verdict(failure="circuit_open")]
    assert len(fake.requests) == 2
