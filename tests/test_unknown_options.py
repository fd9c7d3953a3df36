"""An option or a field that there is none of: two short lines, each name once, and the way to the right one."""

import pytest
from tests.command_line import fault
from tests.test_config import recipe_in


@pytest.mark.parametrize(
    "tokens",
    [["plan", "--foo"], ["train", "r.toml", "--foo", "3"], ["evaluate", "--qqqqqq"], ["data", "check", "--no-zzzz"], ["demo", "--zzzz"]],
    ids=" ".join,
)
def test_one_that_is_like_none_leads_to_the_help(capsys, tokens):
    words = " ".join(tokens[: 2 if tokens[0] == "data" else 1])
    name = next(token for token in tokens if token.startswith("--"))
    assert fault(capsys, 2, *tokens) == f"There is no option {name}.\n`videochat-r1 {words} --help` lists them.\n"


@pytest.mark.parametrize(
    "option, value, told",
    [
        ("--train.stepz", "3", "--train.stepz: there is no such field.\nDid you mean train.steps?\n"),
        ("--train.steps", "few", "--train.steps must be a whole number, at least "),
        ("--data.0.task", "tracing", "--data.0.task: nothing is named 'tracing'.\n"),
        ("--rollout.engine", "natve", "--rollout.engine: nothing is named 'natve'.\n"),
        ("--asking.rewards.tracking", "iou", "--asking.rewards.tracking: the task has no reward 'iou'.\n"),
        ("--asking.rewards.tracing", "iou", "--asking.rewards.tracing: no task is named 'tracing'.\n"),
    ],
)
def test_a_field_of_the_command_line_is_named_once(capsys, tmp_path, option, value, told):
    assert fault(capsys, 2, "plan", recipe_in(tmp_path), option, value).startswith(told)
