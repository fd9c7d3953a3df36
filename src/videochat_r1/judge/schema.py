"""What a judge replies, read strictly: exactly the form that was asked for, or a reason why it is no judgement.

Nothing is mended, clamped or guessed: a label too few, an unknown one, a field too many, a number that JSON does not have, a reply that was
cut off, each makes a failed judgement. A wrong label would be a wrong reward; a failed judgement is only a lost one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from videochat_r1.judge.base import MOST_EVENTS

LABELS = ("entailment", "neutral", "contradiction")
LONGEST_EVENT = 400  # characters

ENTAILMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "labels": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "label": {"type": "string", "enum": list(LABELS)}},
                "required": ["id", "label"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["labels"],
    "additionalProperties": False,
}
EVENTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"events": {"type": "array", "items": {"type": "string"}}},
    "required": ["events"],
    "additionalProperties": False,
}


class CallFailed(Exception):
    """A judgement that could not be had. reason: a short code, never text of the reply. is_transient: another try may do better."""

    def __init__(self, reason: str, *, is_transient: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s


def strict_json(text: str) -> Any:
    """One JSON value and nothing else. Raises CallFailed: not_json, or duplicate_key, or not_finite."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite)
    except (ValueError, RecursionError):
        raise CallFailed("not_json") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CallFailed("duplicate_key")
    return found


def _not_finite(name: str) -> Any:
    raise CallFailed("not_finite")


def content_of(body: bytes) -> tuple[str, int]:
    """The text of a chat completion, and the tokens that it took in all (0 where the endpoint does not say).

    Raises CallFailed: empty, not_utf8, not_json, wrong_envelope, refusal, content_filter, truncated, stopped."""
    if not body.strip():
        raise CallFailed("empty")
    try:
        envelope = strict_json(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise CallFailed("not_utf8") from None
    try:
        (choice,) = envelope["choices"]
        message, finish = choice["message"], choice["finish_reason"]
        content, refusal = message.get("content"), message.get("refusal")
        tokens = (envelope.get("usage") or {}).get("total_tokens", 0)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CallFailed("wrong_envelope") from None
    if refusal or finish == "content_filter":
        raise CallFailed("refusal" if refusal else "content_filter")
    if finish != "stop":
        raise CallFailed("truncated" if finish == "length" else "stopped")
    if not isinstance(content, str):
        raise CallFailed("wrong_envelope")
    return content, tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens < 10**9 else 0


def read_labels(text: str, count: int) -> tuple[str, ...]:
    """The labels of statements 1 to count, in that order: {"labels": [{"id": 1, "label": "neutral"}, ...]}.

    Raises CallFailed: not_json, duplicate_key, not_finite, wrong_schema, wrong_count, wrong_ids, unknown_label."""
    value = _object(strict_json(text), {"labels"})["labels"]
    if not isinstance(value, list):
        raise CallFailed("wrong_schema")
    found: dict[int, str] = {}
    for item in value:
        entry = _object(item, {"id", "label"})
        number, label = entry["id"], entry["label"]
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(label, str):
            raise CallFailed("wrong_schema")
        if label not in LABELS:
            raise CallFailed("unknown_label")
        if number in found:
            raise CallFailed("wrong_ids")
        found[number] = label
    if len(found) != count:
        raise CallFailed("wrong_count")
    if set(found) != set(range(1, count + 1)):
        raise CallFailed("wrong_ids")
    return tuple(found[number] for number in range(1, count + 1))


def read_events(text: str) -> tuple[str, ...]:
    """The events of {"events": ["a dog barks", ...]}, without white space around them; there may be none.

    Raises CallFailed: not_json, duplicate_key, not_finite, wrong_schema, too_many_events, bad_event."""
    value = _object(strict_json(text), {"events"})["events"]
    return checked_events(value)


def checked_events(value: Any) -> tuple[str, ...]:
    """A list of events as they are kept. Raises as read_events."""
    if not isinstance(value, list) or not all(isinstance(event, str) for event in value):
        raise CallFailed("wrong_schema")
    if len(value) > MOST_EVENTS:
        raise CallFailed("too_many_events")
    events = tuple(event.strip() for event in value)
    if not all(event and len(event) <= LONGEST_EVENT and _is_text(event) for event in events):
        raise CallFailed("bad_event")
    return events


def checked_labels(value: Any, count: int) -> tuple[str, ...]:
    """A list of labels as they are kept. Raises CallFailed."""
    if not isinstance(value, list) or len(value) != count or not all(isinstance(label, str) and label in LABELS for label in value):
        raise CallFailed("wrong_schema")
    return tuple(value)


def _object(value: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        raise CallFailed("wrong_schema")
    return value


def _is_text(event: str) -> bool:
    """No half of a surrogate pair, no control character; some letter or digit."""
    return not any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in event) and any(map(str.isalnum, event))


def entailed(labels: Sequence[str]) -> tuple[bool, ...]:
    """Which statements follow: those that are neither contradicted nor left open."""
    return tuple(label == "entailment" for label in labels)
