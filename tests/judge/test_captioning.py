"""The caption task: what is asked, read and paid, its figures, and a policy that trains on it."""

import json
import math
from dataclasses import replace

import pytest
from tests.command_line import fault, ran, ran_json
from tests.judge.fake_server import FakeJudge
from tests.judge.test_failures import settings

from videochat_r1.config import read_section
from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.evaluation.baselines import baselines
from videochat_r1.evaluation.score import score
from videochat_r1.judge import using
from videochat_r1.judge.config import JudgeConfig
from videochat_r1.judge.endpoint import EndpointJudge
from videochat_r1.rewards.events import harmonic
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.tasks.base.scoring import consulted, earned
from videochat_r1.types import Answer, Sample, Verdict

TASK = load_task("captioning")
THOUGHT = "<think>I look at 0.00 to 3.00.</think>\n"
TRUTH = Answer(
    events=("A dog runs to a gate.", "The dog jumps over the fence."), caption="A dog runs to a gate. The dog jumps over the fence."
)


def sample(number=0, truth=TRUTH):
    return Sample(id=f"clip/{number}", task="captioning", video=f"{number}.mp4", question="", truth=truth, duration_s=4.0)


def test_the_prompts_are_the_papers():
    assert TASK.ask(sample(), Asking()) == "Describe this video in detail."
    assert TASK.ask(sample(), Asking(thinking=True)) == (
        "Describe this video in detail.\n\nOutput your thought process within the <think> </think> tags, including analysis with either "
        "specific timestamps (xx.xx) or time ranges (xx.xx to xx.xx) in <timestep> </timestep> tags.\n\nThen, provide your final answer "
        "within the <answer> </answer> tags.\n"
    )


@pytest.mark.parametrize(
    "text, thinking, caption, form",
    [
        ("A dog runs.", False, "A dog runs.", True),
        (" <answer>A dog runs.</answer> ", False, "A dog runs.", True),
        ("So: <answer>A dog runs.</answer>", False, "A dog runs.", False),
        ("<think>A cat sleeps.</think>A dog runs.", False, "A dog runs.", False),
        ("<think>A dog runs.", False, None, False),
        (THOUGHT + "<answer>A dog runs.</answer>", True, "A dog runs.", True),
        ("<answer>A dog runs.</answer>", True, "A dog runs.", False),
        ("A dog runs.", True, None, False),
        (THOUGHT + "<answer> ... </answer>", True, None, False),
        ("", False, None, False),
        ("a" * 17_000, False, None, False),
    ],
)
def test_what_is_read(text, thinking, caption, form):
    reading = TASK.read(text, sample(), Asking(thinking=thinking))
    assert (reading.answer.caption if reading.answer else None) == caption
    assert reading.format_ok is form and (reading.reason == "") is (caption is not None)


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("truth", [TRUTH, replace(TRUTH, caption=None), replace(TRUTH, events=None)])
def test_the_truth_as_written_earns_full_marks(truth, thinking):
    asking, own = Asking(thinking=thinking), sample(truth=truth)
    (reading,) = consulted([(TASK.read(TASK.write(truth, asking), own, asking), own)], precision=True)
    assert earned(TASK, own, reading, asking) == ({"format": 1.0, "event_recall": 1.0}, "")
    assert {name: metric(reading, own) for name, metric in TASK.metrics.items()} == {
        "event_precision": (1.0, 1.0),
        "event_recall": (1.0, 1.0),
        "eventless": (0.0, 1.0),
    }


def test_what_was_not_judged_is_unscorable_and_what_was_not_written_is_wrong():
    read = TASK.read("A dog runs to a gate.", sample(), Asking())
    assert earned(TASK, sample(), read, Asking()) == ({"format": 1.0}, "event_recall: judge: not judged")
    failed = replace(read, verdict=Verdict(failure="http_503"))
    assert earned(TASK, sample(), failed, Asking()) == ({"format": 1.0}, "event_recall: judge: http_503")
    assert [metric(failed, sample()) for metric in TASK.metrics.values()] == [(0.0, 0.0)] * 3
    empty = TASK.read("", sample(), Asking())
    assert earned(TASK, sample(), empty, Asking()) == ({"format": 0.0, "event_recall": 0.0}, "")
    assert [metric(empty, sample()) for metric in TASK.metrics.values()] == [(0.0, 1.0)] * 3


def test_a_truth_without_events_and_description_is_the_data_sets_fault():
    broken = sample(truth=Answer(events=(), caption=" "))
    with pytest.raises(ValueError, match="events or a description"):
        earned(TASK, broken, TASK.read("A dog runs.", broken, Asking()), Asking())
    with pytest.raises(DataError, match="clip/0"):
        score([broken], {"clip/0": "A dog runs."})


OUTPUTS = {
    "clip/0": "A dog runs to a gate. A bird sings.",  # recall 1/2, precision 1/2
    "clip/1": "The dog jumps over the fence. A dog runs to a gate.",  # 1, 1
    "clip/2": "What a day.",  # 0, 0
    "clip/3": "",  # wrong: 0, 0
}


def test_figures_as_dream_1k_counts_them():
    found = score([sample(number) for number in range(4)], OUTPUTS).by_task["captioning"]
    assert (found["event_recall"], found["event_precision"]) == (100 * 1.5 / 4, 100 * 1.5 / 4)
    assert found["event_F1"] == pytest.approx(harmonic(found["event_recall"], found["event_precision"]))
    low, high = found["event_F1_ci95"]
    assert low < found["event_F1"] < high
    assert (found["n"], found["unparsed"], found["unjudged"]) == (4, 1, 0)
    uneven = score([sample(0), sample(1)], {"clip/0": "A dog runs to a gate. A bird sings. A car stops.", "clip/1": OUTPUTS["clip/1"]})
    figures = uneven.by_task["captioning"]
    recall, precision = 75.0, 100 * (1 / 3 + 1) / 2
    assert figures["event_F1"] == pytest.approx(2 * recall * precision / (recall + precision))  # of the means, not the mean of both F1


def test_unjudged_answers_are_left_out_and_said():
    samples = [sample(number) for number in range(4)]
    with FakeJudge(["wrong_schema"]) as fake, using(EndpointJudge(settings(fake.url, concurrency=1))):
        found = score(samples, OUTPUTS)
    figures = found.by_task["captioning"]
    assert (figures["n"], figures["unparsed"], figures["unjudged"]) == (4, 1, 1)
    assert found.reasons["captioning"] == {"no_text": 1, "judge:wrong_schema": 1}
    assert figures["event_recall"] in (pytest.approx(100 * 1.0 / 3), pytest.approx(100 * 0.5 / 3), pytest.approx(100 * 1.5 / 3))


def test_an_endpoint_that_goes_by_words_gives_the_figures_of_the_offline_judge():
    samples = [sample(number) for number in range(4)]
    with FakeJudge() as fake, using(EndpointJudge(settings(fake.url))):
        judged = score(samples, OUTPUTS).by_task
    assert judged == score(samples, OUTPUTS).by_task


def test_trivial_answers_are_judged_too():
    found = baselines([sample(number) for number in range(3)], [sample(9)])["captioning"]["frequent_events"]
    assert (found["event_recall"], found["unjudged"]) == (100.0, 0)


# -- commands


@pytest.fixture
def files(tmp_path):
    row = {"task": "captioning", "question": "", "answer": {"events": TRUTH.events, "caption": TRUTH.caption}}
    rows = [{**row, "id": f"clip/{number}", "video": f"{number}.mp4"} for number in range(4)]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "said.jsonl").write_text("".join(json.dumps({"id": name, "output": text}) + "\n" for name, text in OUTPUTS.items()))
    return tmp_path


def judge_file(files, url, **fields):
    own = {**settings(url).model_dump(exclude_defaults=True), **fields}
    text = "[judge]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in own.items())
    (files / "judge.toml").write_text(text)
    return files / "judge.toml"


def scored(files):
    return "score", files / "said.jsonl", "--dataset", "jsonl", "--annotations", files / "truth.jsonl"


def test_score_offline(capsys, files):
    found = ran_json(capsys, *scored(files), "--judge", "offline")
    assert found["event_recall"] == 37.5 and found["unjudged"] == 0
    assert "offline (by words)" in ran(capsys, *scored(files))[2]


def test_score_with_a_judge_of_a_file(capsys, files):
    with FakeJudge() as fake:
        path = judge_file(files, fake.url, cache="kept.sqlite")
        assert ran_json(capsys, *scored(files), "--judge", path)["event_recall"] == 37.5
        asked = len(fake.requests)
        assert asked > 0 and (files / "kept.sqlite").exists()  # beside the file that names it
        code, out, err = ran(capsys, *scored(files), "--judge", path)
        assert code == 0 and len(fake.requests) == asked and "cache hits" in err and "fake at http://127.0.0.1" in err


def test_too_many_unjudged_end_with_exit_code_3_and_the_figures_all_the_same(capsys, files):
    with FakeJudge(always="unknown_label") as fake:
        code, out, err = ran(capsys, *scored(files), "--judge", judge_file(files, fake.url), "--json")
    assert code == 3 and json.loads(out)["unjudged"] == 3
    assert "3 of 4 answers (75.0%) are unjudged" in err, err
    assert "unknown_label x 3" in err, err


def test_faults_of_the_file_are_told_by_line(capsys, files):
    path = judge_file(files, "http://127.0.0.1:9/v1", modle="x")
    assert "judge.toml:" in (err := fault(capsys, 2, *scored(files), "--judge", path)) and "judge.modle" in err
    path.write_text("[train]\nsteps = 1\n")
    assert "has no [judge] table" in fault(capsys, 2, *scored(files), "--judge", path)
    path.write_text('[judge]\nkind = "openai"\nmodel = "m"\napi_key_env = "NO_SUCH_KEY_HERE"\n')
    assert "NO_SUCH_KEY_HERE" in fault(capsys, 4, *scored(files), "--judge", path)
    path.write_text('[judge]\ncache = "x.sqlite"\n')
    assert read_section(path, "judge", JudgeConfig).cache == str(files / "x.sqlite")


def test_judge_check(capsys, files):
    with FakeJudge() as fake:
        found = ran_json(capsys, "judge", "check", judge_file(files, fake.url))
        assert (found["canaries"], found["canaries_wrong"]) == (48, 0)
    with FakeJudge(always="obeys_all") as fake:
        code, out, _ = ran(capsys, "judge", "check", judge_file(files, fake.url))
        assert code == 3 and "50.0% wrong" in out
    with FakeJudge(always="bad_request") as fake:
        assert "answered none of 12 calls" in fault(capsys, 4, "judge", "check", judge_file(files, fake.url))
    dead = judge_file(files, "http://127.0.0.1:9/v1", batch_deadline_s=0.2, attempts=5, backoff_s=5.0)
    assert "answered none of 12 calls: batch_deadline" in fault(capsys, 4, "judge", "check", dead).replace("canary_call/", "")


def test_a_judge_file_that_is_not_there_is_called_one(capsys, files):
    assert "The judge 'nope.toml' cannot be read" in fault(capsys, 2, *scored(files), "--judge", "nope.toml")


# -- training


def trained(tmp_path, judge):
    from tests.grpo.small_run import run_in, timeless

    from videochat_r1.grpo.order import Source

    truth = Answer(events=("an e or a t", "o"), caption="An e or a t. O.")
    captions = [replace(sample(number, truth), video="drawn") for number in range(3)]
    run_in(
        tmp_path, sources=[Source(samples=captions)], train={"steps": 2}, grpo={"group_size": 4}, sampling={"max_tokens": 8}, judge=judge
    )
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(metrics) == len(timeless(tmp_path)) == 2 and len(rows) == 2 * 2 * 4
    return rows, metrics


def test_two_steps_with_the_offline_judge(tmp_path):
    from videochat_r1.judge.offline import OfflineJudge

    rows, metrics = trained(tmp_path, OfflineJudge())
    assert all(set(row["rewards"]) == {"format", "event_recall"} and not row.get("unscorable") for row in rows)
    assert all(math.isfinite(row["loss"]) and row["judge/failed"] == 0 and row["judge/captions"] > 0 for row in metrics)


def test_a_step_with_some_failed_judgements_leaves_those_completions_out(tmp_path):
    with FakeJudge(["wrong_schema", "unknown_label"]) as fake:
        rows, metrics = trained(tmp_path, EndpointJudge(settings(fake.url)))
    lost = [row for row in rows if row.get("unscorable")]
    assert 2 <= len(lost) < 8 and all("judge: " in row["unscorable"] and row["advantage"] == 0.0 for row in lost)
    assert metrics[0]["judge/failed"] >= 2 and metrics[0]["unscorable"] > 0.0 and metrics[1]["judge/failed"] == 0
    assert all("event_recall" in row["rewards"] for row in rows if not row.get("unscorable"))


def test_a_refused_key_stops_the_run_with_its_two_lines(tmp_path):
    with FakeJudge(always="401") as fake, pytest.raises(EnvironmentFault, match="HTTP 401"):
        trained(tmp_path, EndpointJudge(settings(fake.url)))


def test_the_table_in_the_documents_is_a_judge(tmp_path):
    import re
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs/judge.md").read_text()
    (tmp_path / "judge.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    config = read_section(tmp_path / "judge.toml", "judge", JudgeConfig)
    assert (config.kind, config.model) == ("openai", "Qwen/Qwen2.5-72B-Instruct")
