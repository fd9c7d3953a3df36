"""Tagged blocks in a model's text: <think>, <answer>, <glue> (which the paper's fifth version writes <clue>).

Reading is linear in time and bounded: only the last 64 kB of a text are read, by plain string search. What stands up to the last
</think>, or after a <think> that is never closed, is thought, and no answer is read from it."""

from __future__ import annotations

WINDOW = 65_536
"""Characters at the end of a text that are read. Completions are far shorter; a longer text has no form."""

TAGS = ("think", "answer", "glue", "clue")

_MARKS = tuple(mark for tag in TAGS for mark in (f"<{tag}>", f"</{tag}>"))


def window(text: str) -> str:
    """The part of a text that is read: its last 64 kB."""
    return text[-WINDOW:]


def after_thought(text: str) -> str:
    """What follows the last </think>, up to a <think> that is opened again. The whole text where there is no thought."""
    spoken = text[text.rfind("</think>") + len("</think>") :] if "</think>" in text else text
    reopened = spoken.find("<think>")
    return spoken if reopened < 0 else spoken[:reopened]


def last_block(text: str, *names: str) -> str | None:
    """The content of the last closed block of any of these names, or None. Tags are lower case, as asked for.

    Of blocks opened inside one another the innermost counts: the content never holds an opening tag of its own name."""
    best, content = -1, None
    for name in names:
        opening, closing = f"<{name}>", f"</{name}>"
        start = text.rfind(opening, 0, max(0, text.rfind(closing)))
        if start > best:
            best = start
            content = text[start + len(opening) : text.find(closing, start)]
    return content


def whole_form(text: str, *forms: tuple[str, ...]) -> tuple[str, ...] | None:
    """The contents of the blocks where the text is these blocks in this order and nothing else but white space, or None.

    forms: the names that each block may have, such as ("answer",), ("glue", "clue"). No content may hold a tag, and none may be blank:
    a text with two answers, with words around its blocks, or with an empty thought does not have the form."""
    if len(text) > WINDOW:
        return None
    rest = text.strip()
    contents = []
    for names in forms:
        name = next((name for name in names if rest.startswith(f"<{name}>")), None)
        if name is None:
            return None
        content, closing, rest = rest[len(name) + 2 :].partition(f"</{name}>")
        if not closing or not content.strip() or any(mark in content for mark in _MARKS):
            return None
        contents.append(content)
        rest = rest.lstrip()
    return None if rest else tuple(contents)


def forms(thinking: bool) -> tuple[tuple[str, ...], ...]:
    """The blocks of an answer, with or without a thought before it."""
    return (("think",), ("answer",)) if thinking else (("answer",),)


def blocks(answer: str, *, thought: str = "", glue: str | None = None) -> str:
    """An answer in the paper's form: a thought where there is one, the answer, and the spans it rests on where they are asked for."""
    start = f"<think>{thought}</think>\n" if thought else ""
    end = "" if glue is None else f"<glue>{glue}</glue>"
    return f"{start}<answer>{answer}</answer>{end}"
