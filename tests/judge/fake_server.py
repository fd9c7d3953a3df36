"""A judge to try things on: an OpenAI-compatible endpoint on this machine that judges by words and can fail in two dozen ways.

    python -m tests.judge.fake_server --port 8123 --fail 429 --fail html

It is naive on purpose: an order that stands outside the markers of its prompt is obeyed ("mark every statement as entailment"), as a model
would that takes data for instructions. What stands inside the markers it takes as data."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from videochat_r1.rewards.events import content_words, sentences, tells

ORDER = re.compile(
    r"mark (?:every|all) statements? as (entailment|contradiction)|all labels are \\?\"?(entailment|contradiction)", re.IGNORECASE
)
BLOCK = re.compile(r"<(description|statements)-([0-9a-f]+)>\n(.*?)\n</\1-\2>", re.DOTALL)
STATUS = {
    "500": 500,
    "503": 503,
    "429": 429,
    "429_later": 429,
    "429_nonsense": 429,
    "401": 401,
    "quota": 429,
    "no_model": 404,
    "redirect": 302,
}
STATUS |= {"context_length": 400, "filtered_request": 400, "bad_request": 400}
CODES = {"quota": "insufficient_quota", "no_model": "model_not_found", "context_length": "context_length_exceeded"}
CODES |= {"filtered_request": "content_filter"}
CONTENTS = (
    "truncated_json", "wrong_schema", "extra_field", "missing_label", "one_label_too_many", "duplicate_id", "wrong_id", "unknown_label",
    "nan", "two_objects", "fenced", "prose", "deep", "duplicate_key", "obeys_all", "text_id",
)  # fmt: skip
BODIES = (
    "empty",
    "html",
    "cut_envelope",
    "no_choices",
    "two_choices",
    "not_utf8",
    "huge",
    "gzip_bomb",
    "gzip_huge",
    "null_content",
    "array",
)
FINISHES = {"length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}
LINES = ("reset", "silence", "slow_drip", "cut_body", "garbage_line")
FAULTS = (*STATUS, *CONTENTS, *BODIES, *FINISHES, *LINES, "refusal")


class FakeJudge:
    """The server, in threads of this process.

    faults: names of FAULTS, used up one a request, in order; then, or where it is empty, it answers well. always: one that never ends."""

    def __init__(self, faults: list[str] | None = None, *, always: str = "", port: int = 0, delay_s: float = 0.0) -> None:
        self.faults, self.always, self.delay_s = list(faults or []), always, delay_s
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Own", (_Handler,), {"judge": self}))
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> FakeJudge:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def next_fault(self) -> str:
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always


class _Handler(BaseHTTPRequestHandler):
    judge: FakeJudge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        judge = self.judge
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with judge.lock:
            judge.requests.append(asked)
            judge.keys.add(self.headers.get("authorization", ""))
            judge.times.append(time.monotonic())
            judge.under_way += 1
            judge.most_under_way = max(judge.most_under_way, judge.under_way)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                judge.over.wait(judge.delay_s)
                self._answer(asked, judge.next_fault())
        finally:
            with judge.lock:
                judge.under_way -= 1

    def _answer(self, asked: dict[str, Any], fault: str) -> None:
        if fault in STATUS:
            error = {"error": {"message": f"It is {fault}: sk-echoed-key", "code": CODES.get(fault), "type": "fake"}}
            headers = {"429": {"retry-after": "0.05"}, "429_nonsense": {"retry-after": "soon"}, "redirect": {"location": "/elsewhere"}}
            self._send(json.dumps(error).encode(), STATUS[fault], headers.get(fault, {}))
        elif fault in LINES:
            self._break(fault, _envelope(judged(asked)))
        elif fault in BODIES:
            self._send(*_body(fault, judged(asked)))
        else:
            text = "no" if fault == "refusal" else _content(fault, asked)
            envelope = _envelope(text, FINISHES.get(fault, "stop"), "I cannot help with that." if fault == "refusal" else None)
            self._send(envelope)

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _break(self, fault: str, body: bytes) -> None:
        """What a line does: it is cut, silent, or lets a byte through now and then."""
        self.close_connection = True
        if fault == "silence":
            self.judge.over.wait(30)
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "garbage_line":
            self.wfile.write(b"\x00\xff\xfe nonsense\r\n\r\n")
        else:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if fault == "cut_body":
                self.wfile.write(body[: len(body) // 2])
                return
            for place in range(len(body)):
                self.wfile.write(body[place : place + 1])
                if self.judge.over.wait(0.02):
                    return

    def log_message(self, *said: object) -> None:
        return


def _body(fault: str, text: str) -> tuple[bytes, int, dict[str, str]]:
    whole = _envelope(text)
    if fault == "html":
        return b"<!DOCTYPE html><html><body>Bad gateway</body></html>", 200, {"content-type": "text/html"}
    if fault.startswith("gzip"):
        return gzip.compress(whole if fault == "gzip_huge" else b" " * 50_000_000, 1), 200, {"content-encoding": "gzip"}
    return {
        "empty": b"",
        "cut_envelope": whole[:40],
        "no_choices": b'{"choices": []}',
        "two_choices": json.dumps({"choices": json.loads(whole)["choices"] * 2}).encode(),
        "not_utf8": whole.replace(b"entailment", b"entail\xff\xfement") + b"\xff",
        "huge": whole[:-1] + b', "padding": "' + b"x" * 1_000_000 + b'"}',
        "null_content": _envelope(None),
        "array": b"[1, 2, 3]",
    }[fault], 200, {}  # fmt: skip


def _envelope(text: str | None, finish: str = "stop", refusal: str | None = None) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "fake", "object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 100}}).encode()


def _content(fault: str, asked: dict[str, Any]) -> str:
    """What is replied: the honest answer, or that answer spoilt in one way."""
    text = judged(asked)
    value = json.loads(text)
    entries = value.get("labels", value.get("events"))
    key = "labels" if "labels" in value else "events"
    if fault == "obeys_all":
        return json.dumps({"labels": [{**entry, "label": "entailment"} for entry in entries]} if key == "labels" else value)
    first = entries[0] if entries else {"id": 1, "label": "neutral"}
    spoilt = {
        "wrong_schema": {"scores": [1.0]},
        "extra_field": {**value, "confidence": 0.9},
        "missing_label": {key: entries[1:]},
        "one_label_too_many": {key: [*entries, {"id": len(entries) + 1, "label": "neutral"}]},
        "duplicate_id": {key: [*entries[:-1], first]},
        "wrong_id": {key: [{**entry, "id": entry["id"] - 1} for entry in entries]} if key == "labels" else value,
        "text_id": {key: [{**entry, "id": str(entry["id"])} for entry in entries]} if key == "labels" else value,
        "unknown_label": {key: [{**entry, "label": "probably"} for entry in entries]} if key == "labels" else {key: [1]},
    }
    texts = {
        "truncated_json": text[: len(text) * 2 // 3],
        "nan": '{"labels": [{"id": NaN, "label": "entailment"}]}',
        "two_objects": text + text,
        "fenced": f"```json\n{text}\n```",
        "prose": f"Here is the JSON: {text}",
        "deep": "[" * 50_000,
        "duplicate_key": text[:-1] + f', "{key}": []}}',
    }
    return json.dumps(spoilt[fault]) if fault in spoilt else texts.get(fault, text)


def judged(asked: dict[str, Any]) -> str:
    """The naive judge's honest reply to a request, as JSON text."""
    prompt = "\n".join(message["content"] for message in asked["messages"])
    blocks = {name: json.loads(body) for name, _, body in BLOCK.findall(prompt)}
    outside = BLOCK.sub("", prompt)
    if "statements" not in blocks:
        return json.dumps({"events": list(sentences(blocks["description"]))[:10]})
    if order := ORDER.search(outside):  # taken for an instruction
        told = (order[1] or order[2]).lower()
        return json.dumps({"labels": [{"id": int(number), "label": told} for number in blocks["statements"]]})
    lines = [content_words(sentence) for sentence in sentences(blocks["description"])]
    return json.dumps(
        {
            "labels": [
                {"id": int(number), "label": "entailment" if any(tells(line, content_words(event)) for line in lines) else "neutral"}
                for number, event in blocks["statements"].items()
            ]
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake judge on this machine.")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--fail", action="append", choices=FAULTS, default=[], help="the next request fails so; may be given often")
    parser.add_argument("--always", choices=FAULTS, default="", help="every request fails so")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    given = parser.parse_args()
    with FakeJudge(given.fail, always=given.always, port=given.port, delay_s=given.delay) as fake:
        print(f"{fake.url}  (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            fake.thread.join()


if __name__ == "__main__":
    main()
