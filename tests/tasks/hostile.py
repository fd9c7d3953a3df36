"""Hostile texts by a small grammar: fragments of answers, tags and traps, put together at random."""

import random
from collections.abc import Iterator

BOX = "[0.1, 0.2, 0.3, 0.4]"
TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<glue>", "</glue>", "<clue>", "</clue>", "<timestep>", "<ANSWER>", "<answer", "</"]
ANSWERS = [
    *("<answer>10.00 to 20.00</answer>", "<answer>C</answer>", "<glue>[(13.8, 29.8)]</glue>", "<answer>low quality</answer>"),
    f"<answer>[{', '.join([BOX] * 8)}]</answer>",
]
SPANS = ["10 to 20", "10.5 and 20.5", "20 to 10", "0:12 to 0:17", "2.0-10.7", "2.0s to 10.7s", "1,234.5 to 1,300", "5% to 9%", "-5 to 5"]
NUMBERS = ["1e999", "nan", "inf", "-inf", "NaN", "Infinity", "9" * 30, "0" * 400, "1." + "3" * 40, "0x10", "1_000", "1\u00b2"]
SIGNS = ["[", "]", "(", ")", "[[", "]]", "[(", ")]", ",", ", ", ".", ":", "-", "+", "'", '"', "\\", "{", "}", "[]", "[[]]", "[()]"]
LISTS = [
    *(f"[{BOX}]", f"{BOX}, ", f"[{', '.join([BOX] * 8)}]", "[480, 270, 1920, 1080]", "[1e999,nan,inf,0]", "[(1e999, 2)]", "[(9,1)]"),
    *(f"[{','.join(['[1e999,-1e999,1e308,-1e308]'] * 8)}]", f"[{','.join(['[1,None,True,0]'] * 8)}]", "\u0661\u0662 to \u0663\u0664"),
]
CHOICES = [
    "A",
    "B",
    "C",
    "A or B",
    "A, B, C, D, E",
    "(C)",
    "C.",
    "c",
    "Excited",
    "The Answer is C",
    "Answer: C",
    "(C) a book",
    "a book",
    "Z",
]
WORDS = ["low quality", "High Quality", "low quality or high quality", "a red circle appears", "the red circle moves left.", "a"]
SPACES = ["\n", "\t", " ", "   ", "\x85", "\u2028"]
STRANGE = ["\x00", "\ud800", "\udfff", "\u202e", "\u200f", "\u0130", "\ufdfa", "\U0001f600", "\ufeff", "\u0303" * 20]
FRAGMENTS = TAGS + ANSWERS + SPANS + NUMBERS + SIGNS + LISTS + CHOICES + WORDS + SPACES + STRANGE


def texts(number: int, seed: int) -> Iterator[str]:
    """So many texts of up to 16 fragments, half of them within an answer's tags; one in a thousand repeats a fragment 2,000 times."""
    rng = random.Random(seed)
    for index in range(number):
        text = "".join(rng.choices(FRAGMENTS, k=1 + index % 16))
        if index % 1000 == 999:
            text += rng.choice(FRAGMENTS) * 2_000
        wrapped = rng.random()
        if wrapped < 0.5:
            text = f"<answer>{text}</answer>" if wrapped < 0.4 else f"<answer>C</answer><glue>{text}</glue>"
        yield text
