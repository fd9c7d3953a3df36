"""Tagged blocks: which one is read, and which texts have the form that is asked for."""

import pytest

from videochat_r1.rewards.tags import WINDOW, after_thought, blocks, forms, last_block, whole_form


@pytest.mark.parametrize(
    "text, content",
    [
        ("<answer>A</answer>", "A"),
        ("<answer>A</answer> <answer>B</answer>", "B"),
        ("<answer>A</answer> <answer>B", "A"),
        ("<answer><answer>A</answer>", "A"),
        ("<answer>A</answer></answer>", "A"),
        ("<answer></answer>", ""),
        ("</answer><answer>A", None),
        ("</answer>", None),
        ("<answer>", None),
        ("<ANSWER>A</ANSWER>", None),
        ("< answer>A</answer>", None),
        ("", None),
    ],
)
def test_last_block(text, content):
    assert last_block(text, "answer") == content


def test_the_last_of_two_names_is_read():
    assert last_block("<glue>1</glue><clue>2</clue>", "glue", "clue") == "2"
    assert last_block("<clue>2</clue><glue>1</glue>", "glue", "clue") == "1"
    assert last_block("<clue>2</clue><glue>1", "glue", "clue") == "2"


@pytest.mark.parametrize(
    "text, spoken",
    [
        ("hello", "hello"),
        ("<think>a</think>b", "b"),
        ("<think>a</think>b<think>c", "b"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("a</think>b", "b"),
        ("a<think>b", "a"),
        ("<think>a", ""),
    ],
)
def test_after_thought(text, spoken):
    assert after_thought(text) == spoken


@pytest.mark.parametrize(
    "text, contents",
    [
        ("<think>a</think><answer>b</answer>", ("a", "b")),
        ("\n<think>a</think>\n\n<answer>b</answer> ", ("a", "b")),
        ("<think>at <timestep>3.0</timestep></think><answer>b</answer>", ("at <timestep>3.0</timestep>", "b")),
        ("<answer>b</answer>", None),
        ("<think></think><answer>b</answer>", None),
        ("<think> \n</think><answer>b</answer>", None),
        ("<think>a</think><answer> </answer>", None),
        ("<think>a</think> so <answer>b</answer>", None),
        ("<think>a</think><answer>b</answer>.", None),
        ("<think>a</think><answer>b</answer><answer>c</answer>", None),
        ("<think>a</think><think>a</think><answer>b</answer>", None),
        ("<think>a <answer>b</answer></think><answer>b</answer>", None),
        ("<think>a</answer></think><answer>b</answer>", None),
        ("<think>a</think><answer><answer>b</answer>", None),
        ("<think>a</think><answer>b</answer><glue>c</glue>", None),
        ("<answer>b</answer><think>a</think>", None),
        ("<think>a</think><ANSWER>b</ANSWER>", None),
        ("<think>a</think><answer>b", None),
        ("", None),
    ],
)
def test_the_form_with_thinking(text, contents):
    assert whole_form(text, *forms(True)) == contents


def test_the_form_without_thinking_has_no_thought():
    assert whole_form("<answer>b</answer>", *forms(False)) == ("b",)
    assert whole_form("<think>a</think><answer>b</answer>", *forms(False)) is None


def test_glue_may_be_written_clue():
    for name in ("glue", "clue"):
        assert whole_form(f"<answer>b</answer> <{name}>c</{name}>", *forms(False), ("glue", "clue")) == ("b", "c")
    assert whole_form("<answer>b</answer><glue>c</clue>", *forms(False), ("glue", "clue")) is None


def test_a_text_longer_than_what_is_read_has_no_form():
    text = blocks("b", thought="a" * WINDOW)
    assert whole_form(text, *forms(True)) is None
    assert whole_form(text[:7] + text[60:], *forms(True)) is not None
