"""The released code's readings, each held against its own patterns on short random texts (the patterns take too long on long ones)."""

import ast
import random
import re

import pytest

from videochat_r1.rewards import released

TEXTS = 20_000


def random_texts(fragments: list[str], longest: int, seed: int):
    rng = random.Random(seed)
    return ("".join(rng.choices(fragments, k=rng.randint(1, longest))) for _ in range(TEXTS))


def test_spans_as_the_released_pattern_finds_them():
    pattern = re.compile(r"(\d+\.?\d*) (to|and) (\d+\.?\d*)", re.IGNORECASE)
    found = 0
    for text in random_texts(["1", "23", ".", " ", " to ", " and ", " TO ", "5", " to", "x", "\u0661"], 14, seed=0):
        matches = pattern.findall(text)
        expected = (float(matches[-1][0]), float(matches[-1][2])) if matches else None
        assert released.read_span(f"<answer>{text}</answer>") == expected, text
        found += expected is not None
    assert found > TEXTS / 10


@pytest.mark.parametrize("name", ["first", "last"])
def test_blocks_as_the_released_pattern_finds_them(name):
    found = 0
    for text in random_texts(["<answer>", "</answer>", "<answer", ">", "a", "\n"], 10, seed=1):
        matches = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
        expected = (matches[0] if name == "first" else matches[-1]) if matches else None
        assert (released.first_block if name == "first" else released.last_of_all_blocks)(text, "answer") == expected, text
        found += expected is not None
    assert found > TEXTS / 10


@pytest.mark.parametrize("thinking", [True, False], ids=["think", "no think"])
@pytest.mark.parametrize("glue", [True, False], ids=["glue", "no glue"])
def test_form_as_the_released_pattern_has_it(thinking, glue):
    pattern = re.compile(
        (r"<think>.*?</think>\s*" if thinking else "") + r"<answer>.*?</answer>" + (r"\s*<glue>.*?</glue>" if glue else ""), re.DOTALL
    )
    fragments = ["<think>", "</think>", "<answer>", "</answer>", "<glue>", "</glue>", " ", "a", "</think><answer>", "</answer>\n<glue>"]
    start, end = "<think>" if thinking else "<answer>", "</glue>" if glue else "</answer>"
    found = 0
    for index, text in enumerate(random_texts(fragments, 7, seed=2)):
        text = text if index % 4 == 0 else f"{start}{text}{end}"
        expected = pattern.fullmatch(text.strip()) is not None
        assert released.has_form(text, thinking=thinking, glue=glue) == expected, text
        found += expected
    assert found > TEXTS / 50


def released_glue(glue: str):
    """The released code's test of a list of spans, by its pattern and by Python's own parser."""
    pattern = r"^\[(\(\d+(\.\d+)?,\s*\d+(\.\d+)?\)(,\s*\(\d+(\.\d+)?,\s*\d+(\.\d+)?\))*(,)?|)\]$"
    if not re.match(pattern, glue):
        return None
    try:
        spans = ast.literal_eval(glue)
    except (SyntaxError, ValueError):
        return None
    return tuple(spans) if all(start <= end for start, end in spans) else None


def test_lists_of_spans_as_the_released_code_takes_them():
    fragments = [
        "[",
        "]",
        "(",
        ")",
        "(1, 2)",
        "(1.5,2.5)",
        ",",
        ", ",
        ",\n",
        " ",
        "1",
        "0",
        "05",
        "00",
        ".",
        "7.25",
        "(9, 1)",
        "(3,3)",
        "()",
    ]
    fragments += ["-", "\n"]
    rng, found = random.Random(3), 0
    for text in random_texts(fragments, 6, seed=3):
        text = text if rng.random() < 0.1 else f"[{text}]" + "\n" * (rng.random() < 0.1)
        expected = released_glue(text)
        assert released.read_spans(f"<glue>{text}</glue>") == expected, text
        found += expected is not None
    assert found > TEXTS / 50


@pytest.mark.parametrize(
    "glue, spans",
    [("[]", ()), ("[(5.2,10.4),]", ((5.2, 10.4),)), ("[(5.2, 10.4)]", ((5.2, 10.4),)), ("[(3,3)]", ((3, 3),))]
    + [(" [(5,10)]", None), ("[[5,10]]", None), ("[(5.2 , 10.4)]", None), ("[(5., 10)]", None), ("[(10, 5)]", None), ("[(5, 10), ]", None)]
    + [("[(05, 10)]", None), ("[(\u0661, \u0662)]", None), ("[(1e999, 2)]", None), (f"[(1, {'9' * 400}.0)]", None)],
)
def test_lists_of_spans_by_hand(glue, spans):
    assert released.read_spans(f"<glue>{glue}</glue>") == spans


def released_letter(answer: str) -> str | None:
    """What the released code makes of an answer's content: its cut-out openings and its pattern."""
    answer = answer.strip()
    for opening in (
        *("The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is", "The correct option is"),
        "Best answer:Best option:",
    ):
        answer = answer.replace(opening, "")
    match = re.search("[ABCDEFG]", answer)
    return match[0] if match else None


def test_letters_as_the_released_code_takes_them():
    fragments = ["The ", "best ", "correct ", "answer ", "answer is", "option is", "Best answer:", "Best option:", "is "]
    fragments += ["A", "C", "c", " ", "Excited"]
    for text in random_texts(fragments, 6, seed=4):
        assert released.read_choice(f"<answer>{text}</answer>") == released_letter(text), text


def test_lists_of_boxes_as_the_released_code_takes_them():
    fragments = [BOX, f"{BOX},", "[1, 2, 3, 4],", "[-1.5,+2,3e1,.5],", "['a',None,True,1],", ",", " ", "[05,1,2,3],", "[0,1,2],", "x"]
    fragments += [f"{BOX}, "] * 20
    found = 0
    for text in random_texts(fragments, 9, seed=5):
        try:
            rows = ast.literal_eval(f"[{text}]")
            expected = isinstance(rows, list) and len(rows) == 8 and all(isinstance(row, list) and len(row) == 4 for row in rows)
        except (SyntaxError, ValueError):
            expected = False
        assert released.read_boxes(f"<answer>[{text}]</answer>")[1] == expected, text
        found += expected
    assert found > TEXTS / 100


BOX = "[0.1, 0.2, 0.3, 0.4]"
EIGHT = f"[{', '.join([BOX] * 8)}]"


@pytest.mark.parametrize(
    "text, boxes, form",
    [
        (EIGHT, 8, True),
        (EIGHT.replace(" ", "\n"), 8, True),
        (f" {EIGHT} ", 8, True),
        (EIGHT.replace("0.4], [", "0.4,],["), 8, True),
        (EIGHT[:-1] + ",]", 8, True),
        (EIGHT.replace("0.1", "-480"), 8, True),
        (EIGHT.replace("0.1", "1e-1"), 8, True),
        (EIGHT.replace("0.1", "'a'"), None, True),
        (EIGHT.replace("0.1", "None"), None, True),
        (EIGHT.replace("0.1", "1e999"), None, True),
        (EIGHT.replace("0.1", "nan"), None, False),
        (EIGHT.replace("0.4", "0.4, 0.5"), None, False),
        (f"[{', '.join([BOX] * 7)}]", None, False),
        (f"[{', '.join([BOX] * 9)}]", None, False),
        (EIGHT[1:-1], None, False),
        (EIGHT.replace("0.1", "05"), None, False),
        (EIGHT.replace("0.1", "00"), 8, True),
        (f"[{EIGHT}]", None, False),
        (f"so {EIGHT}", None, False),
        (EIGHT.replace("], [", "] ["), None, False),
        ("", None, False),
    ],
)
def test_eight_lists_of_four(text, boxes, form):
    found, has_form = released.read_boxes(f"<answer>{text}</answer>")
    assert (None if found is None else len(found), has_form) == (boxes, form)


def test_the_first_answer_counts_for_boxes_even_within_the_thought():
    other = EIGHT.replace("0.1", "0.05")
    found, _ = released.read_boxes(f"<think><answer>{EIGHT}</answer></think><answer>{other}</answer>")
    assert found == ((0.1, 0.2, 0.3, 0.4),) * 8
