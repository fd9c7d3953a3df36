"""HTML that cannot be broken by a text: every child and attribute is escaped unless it is already Markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

from videochat_r1.evaluation.legend import plain

VOID = frozenset({"br", "hr", "img", "input", "meta", "link"})


class Markup(str):
    """Text that is HTML. Only `element` and `join` make it."""

    __slots__ = ()


Child = str | Markup | None | Iterable["Child"]


def element(name: str, *children: Child, **attributes: object) -> Markup:
    """One element. Children: Markup as it is, other text escaped, None left out, iterables one by one. Attributes: None and False left
    out, True bare; `class_` is class, and an underscore in a name is a hyphen."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Children side by side."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(plain(children)))
    return Markup("".join(join(child) for child in children))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    written = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(plain(written))}"'
