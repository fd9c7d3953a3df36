"""An option or a field that there is none of: two short lines, each name once, and the way to the right one."""

import pytest
from tests.command_line import fault


@pytest.mark.parametrize(
    "tokens",
    [["plan", "--foo"], ["train", "r.toml", "--foo", "3"], ["evaluate", "--qqqqqq"], ["data", "check", "--no-zzzz"], ["demo", "--zzzz"]],
    ids=" ".join,
)
def test_one_that_is_like_none_leads_to_the_help(capsys, tokens):
    words = " ".join(tokens[: 2 if tokens[0] == "data" else 1])
    name = next(token for token in tokens if token.startswith("--"))
    assert fault(capsys, 2, *tokens) == f"There is no option {name}.\n`videochat-r1 {words} --help` lists them.\n"
