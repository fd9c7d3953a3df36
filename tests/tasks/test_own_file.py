"""A task in a file of the user's own that breaks: told in two lines with the file's line, whichever command meets it."""

import json
import signal

import pytest
from tests.command_line import fault, ran
from tests.tasks.samples import SAMPLES, said

from videochat_r1.cli import INTERRUPTED
from videochat_r1.errors import TaskFault, UsageError
from videochat_r1.evaluation.evaluate import Reply, judged
from videochat_r1.evaluation.figures import figures
from videochat_r1.grpo.signals import StopSignal
from videochat_r1.runs import ended_by_signals
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import SHARE, load_task
from videochat_r1.tasks.base.scoring import judge

SAMPLE = SAMPLES["video_qa"]
SOUND = """
from __future__ import annotations
from dataclasses import dataclass
from videochat_r1.tasks.base import Task
from videochat_r1.types import Answer, Reading

@dataclass
class Form:
    name: str = "plain"

def ask(sample, asking):
    return sample.question

def read(text, sample, asking):
    return Reading(answer=Answer(label=text), reason="", format_ok=True)

def right(reading, sample, asking):
    return 1.0

def counted(reading, sample):
    return 1.0, 1.0

def write(answer, asking):
    return answer.label or ""

TASK = Task(ask=ask, read=read, write=write, rewards={"right": right}, metrics={"counted": counted})
"""


def own_task(folder, old="", new=""):
    assert old in SOUND
    (folder / "mine.py").write_text(SOUND.replace(old, new) if old else SOUND)
    return str(folder / "mine.py")


def rows(folder):
    row = {"id": "a-1", "task": "video_qa", "video": "a.mp4", "question": "q", "answer": {"label": "3"}}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "said.jsonl").write_text(json.dumps({"id": "a-1", "output": "3"}) + "\n")
    return ["--dataset", "jsonl", "--annotations", folder / "rows.jsonl"]


BROKEN = [
    (
        "TASK = Task(",
        "import nosuchmod\nTASK = Task(",
        r"mine.py:26: the file cannot be loaded: ModuleNotFoundError: No module named 'nosuchmod'.",
    ),
    ("def ask(", "def ask((", "mine.py:11: the file cannot be loaded: SyntaxError: "),
    ("TASK = Task(", "raise SystemExit\nTASK = Task(", "mine.py:26: the file cannot be loaded: SystemExit."),
    ("TASK = Task(", "TASK = 3\nTask(", "mine.py assigns a TASK that is a int, not a Task."),
    ("TASK = Task(", "TASKS = Task(", "mine.py does not define TASK."),
    ('{"right": right}', "[right]", "mine.py: TASK.rewards is a list, not a table of functions by name."),
    ("ask=ask", "ask='what?'", "mine.py: TASK.ask is a str, not a function."),
]


@pytest.mark.parametrize("old, new, told", BROKEN, ids=[told for _, _, told in BROKEN])
def test_a_file_that_holds_no_task_is_refused(capsys, tmp_path, old, new, told):
    path = own_task(tmp_path, old, new)
    assert told in fault(capsys, 2, "score", tmp_path / "said.jsonl", *rows(tmp_path), "--task", path)
    assert told in fault(capsys, 2, "data", "check", *rows(tmp_path), "--task", path)


def test_a_check_of_the_data_opens_the_tasks_file(capsys, tmp_path):
    assert "No file none.py" in fault(capsys, 2, "data", "check", *rows(tmp_path), "--task", "none.py")
    assert ran(capsys, "data", "check", *rows(tmp_path), "--task", own_task(tmp_path))[0] == 0


def test_a_recipe_that_names_a_broken_file_is_refused_before_anything_is_loaded(capsys, tmp_path):
    own_task(tmp_path, "TASK = Task(", "import nosuchmod")
    rows(tmp_path)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[policy]\npath = "nowhere"\n[[data]]\nname = "jsonl"\nannotations = "rows.jsonl"\ntask = "mine.py"\n')
    assert "mine.py:26: the file cannot be loaded: " in fault(capsys, 2, "train", recipe, "--dry-run")


RAISES = [
    ("return Reading(", "return {}['x']", "mine.py:15: read raised KeyError: 'x', on sample a-1."),
    ("return Reading(", "return 5 or Reading(", "mine.py: read gave 5, not a Reading, on sample a-1."),
    ("return 1.0, 1.0", "return {}['x']", "mine.py:21: the metric 'counted' raised KeyError: 'x', on sample a-1."),
    ("return Reading(", "raise SystemExit(0)", "mine.py:15: read raised SystemExit: 0, on sample a-1."),
    ("return 1.0, 1.0", "raise SystemExit", "mine.py:21: the metric 'counted' raised SystemExit, on sample a-1."),
    (
        "return 1.0, 1.0",
        "from videochat_r1.errors import Unscorable; raise Unscorable('no')  # ",
        "mine.py:21: the metric 'counted' raised Unscorable: no, on sample a-1.",
    ),
    ("return 1.0, 1.0", "return 1.0", f"mine.py: the metric 'counted' gave 1.0, not {SHARE}, on sample a-1."),
    *(
        ("return 1.0, 1.0", f"return {pair}  # ", f"mine.py: the metric 'counted' gave {told}, not {SHARE}, on sample a-1.")
        for pair, told in (
            ("float('nan'), 1.0", "(nan, 1.0)"),
            ("1.0, float('inf')", "(1.0, inf)"),
            ("2.0, 1.0", "(2.0, 1.0)"),
            ("1.0, 0.0", "(1.0, 0.0)"),
            ("-1e-3, 1.0", "(-0.001, 1.0)"),
            ("1.001, 1.0", "(1.001, 1.0)"),
            ("'1.0', 1.0", "('1.0', 1.0)"),
        )
    ),
]


@pytest.mark.parametrize("old, new, told", RAISES, ids=[told for _, _, told in RAISES])
def test_score_says_which_function_of_the_file_broke(capsys, tmp_path, old, new, told):
    new += "  # " if new.endswith(("]", "SystemExit(0)")) else ""
    tokens = ["score", tmp_path / "said.jsonl", *rows(tmp_path), "--task", own_task(tmp_path, old, new)]
    assert told in fault(capsys, 2, *tokens)
    if "raised" in told:
        assert "Traceback" in ran(capsys, *tokens, "--debug")[2]


@pytest.mark.parametrize("pair", [(0.0, 0.0), (True, 1), (0.1 + 0.1 + 0.1, 0.3), (1.0000001, 1.0), (1 - (0.1 + 0.2) / 0.3, 1.0)])
def test_a_share_may_be_nothing_of_nothing_and_all_of_a_rounded_sum(tmp_path, pair):
    task = load_task(own_task(tmp_path, "return 1.0, 1.0", f"return {pair}"))
    assert task.metrics["counted"](task.read("3", SAMPLE, Asking()), SAMPLE) == pair


def test_a_derived_figure_is_a_finite_number(tmp_path):
    derived = "from videochat_r1.tasks.base import Derived\nTASK = Task(derived={'mean': Derived(('counted',), lambda x: float('nan'))}, "
    task = load_task(own_task(tmp_path, "TASK = Task(", derived))
    with pytest.raises(TaskFault, match="the derived figure 'mean' gave nan, not a finite number"):
        figures(task, [SAMPLE], [task.read("3", SAMPLE, Asking())])


def test_a_reward_given_as_text_is_no_number(tmp_path):
    task = load_task(own_task(tmp_path, "return 1.0\n", "return '1.0'\n"))
    (rollout,) = judge(task, SAMPLE, [said("3")], Asking())
    assert rollout.unscorable == "right: gave a str, not a number"


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_a_stop_in_a_function_of_the_file_is_no_fault_of_it(tmp_path, sent):
    task = load_task(own_task(tmp_path, "return 1.0\n", f"import signal; signal.raise_signal(signal.{sent}); return 1.0\n"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if sent == "SIGTERM" else None  # as of what a shell's script starts with &
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            judge(task, SAMPLE, [said("3")], Asking())
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def test_ctrl_c_in_a_metric_ends_score(capsys, tmp_path):
    path = own_task(tmp_path, "return 1.0, 1.0", "raise KeyboardInterrupt")
    assert ran(capsys, "score", tmp_path / "said.jsonl", *rows(tmp_path), "--task", path)[0] == INTERRUPTED


@pytest.mark.parametrize("raised", ["SystemExit(0)", "KeyboardInterrupt"])
def test_a_reward_that_ends_the_program_is_counted_in_training(tmp_path, raised):
    task = load_task(own_task(tmp_path, "return 1.0\n", f"raise {raised}\n"))
    with StopSignal():
        (rollout,) = judge(task, SAMPLE, [said("3")], Asking())
    assert rollout.unscorable == "right: " + raised.replace("(0)", ": 0")


def test_a_truth_that_a_metric_cannot_take_is_the_datas(capsys, tmp_path):
    path = own_task(tmp_path, "return 1.0, 1.0", "raise ValueError('no number')")
    told = fault(capsys, 3, "score", tmp_path / "said.jsonl", *rows(tmp_path), "--task", path)
    assert "a-1 cannot be scored" in told and "mine.py:21: the metric 'counted' raised ValueError: no number" in told


def test_a_value_error_over_a_text_is_the_files(tmp_path):
    task = load_task(own_task(tmp_path, "return 1.0, 1.0", "return float(reading.answer.label if reading.answer else 0), 1.0"))
    reading = task.read("much", SAMPLE, Asking())
    with pytest.raises(TaskFault, match="the metric 'counted' raised ValueError: could not convert"):
        task.metrics["counted"](reading, SAMPLE)


@pytest.mark.parametrize("new, said", [("return 5", "ask gave 5, not a text"), ("return {}['x']", "mine.py:12: ask raised KeyError: 'x'")])
def test_a_question_that_cannot_be_asked_names_its_function(tmp_path, new, said):
    task = load_task(own_task(tmp_path, "return sample.question", new))
    with pytest.raises(UsageError, match=said):
        task.ask(SAMPLE, Asking())


def test_a_reward_that_raises_stops_an_evaluation_and_is_counted_in_training(tmp_path, caplog):
    path = own_task(tmp_path, "return 1.0\n", "return {}['x']\n")
    sample = SAMPLE.__class__(**{**vars(SAMPLE), "task": path})
    with pytest.raises(TaskFault, match=r"mine.py:18: the reward 'right' raised KeyError: 'x', on sample"):
        judged([sample], [Reply("3")], Asking())
    (rollout,) = judge(load_task(path), sample, [said("3")], Asking())
    assert rollout.unscorable == "right: KeyError: 'x'"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


def test_a_sound_file_scores(capsys, tmp_path):
    code, out, _ = ran(capsys, "score", tmp_path / "said.jsonl", *rows(tmp_path), "--task", own_task(tmp_path), "--json")
    assert code == 0 and json.loads(out)["counted"] == 100.0
