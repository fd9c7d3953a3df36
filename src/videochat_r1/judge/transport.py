"""One try of one call: a chat completion over HTTP, bounded in time and size, and what its failure means.

What a server says is never shown or kept: error texts echo keys and prompts. A failure is a short code."""

from __future__ import annotations

import asyncio
import email.utils
import importlib
import math
import os
import re
import time
from typing import Any

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.judge.config import OPENAI, JudgeConfig
from videochat_r1.judge.prompts import Messages
from videochat_r1.judge.schema import CallFailed

LARGEST_REPLY = 256 * 1024
"""Bytes of a reply's body, at most."""

LONGEST_RETRY_AFTER_S = 60.0
"""A server that asks for a longer pause gets this one."""

_NO_CONTEXT = re.compile(r"context.?length|maximum context|too many tokens|prompt is too long", re.IGNORECASE)
_NO_MODEL = re.compile(r"model.{0,100}(does not exist|not found|not_found|no access)|unknown model|invalid model", re.IGNORECASE)


def key_of(config: JudgeConfig) -> str:
    """The endpoint's key, from the environment variable that the recipe names. Raises EnvironmentFault where it is not set."""
    if not config.api_key_env:
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        mend = 'Set it to the endpoint\'s key; judge.api_key_env = "" says that the endpoint takes none.'
        raise EnvironmentFault(f"The environment variable {config.api_key_env}, which judge.api_key_env names, is not set.", mend)
    return key


def make_client(config: JudgeConfig) -> Any:
    """A client of the openai package for one event loop: no retries of its own, no redirects, no compression, replies bounded.

    Raises EnvironmentFault where the packages are not installed or the key is not there."""
    try:
        import openai
        import tenacity  # noqa: F401  (told here, before the first call)
    except ImportError as fault:
        raise EnvironmentFault(
            f"A judge needs the package {fault.name}.", "Install the extra: pip install 'videochat-r1[judge]'."
        ) from None
    key = key_of(config)
    base = next(each for each in openai.DefaultAsyncHttpxClient.__mro__ if each.__name__ == "AsyncClient")
    httpx = importlib.import_module(base.__module__.partition(".")[0])  # httpx, or httpx2 from openai 3 on
    timeout = httpx.Timeout(config.call_deadline_s)
    limits = httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency)
    http = httpx.AsyncClient(transport=_bounded(httpx, limits), timeout=timeout, follow_redirects=False)
    return openai.AsyncOpenAI(api_key=key, base_url=config.base_url or OPENAI, max_retries=0, timeout=timeout, http_client=http)


def _bounded(httpx: Any, limits: Any) -> Any:
    """A transport whose replies come uncompressed and end at LARGEST_REPLY bytes. (Built here: the package is loaded late.)"""

    class Bounded(httpx.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> Any:
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > LARGEST_REPLY:
                    raise CallFailed("too_large")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            request.headers["accept-encoding"] = "identity"
            response = await super().handle_async_request(request)
            if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                await response.aclose()
                raise CallFailed("compressed")
            response.stream = Bounded(response.stream)
            return response

    return Transport(limits=limits, retries=0)


async def call(client: Any, config: JudgeConfig, messages: Messages, schema: dict[str, Any]) -> bytes:
    """The body of the endpoint's reply to one request.

    Raises CallFailed within config.call_deadline_s (and a moment), and UsageError or EnvironmentFault for what no other try can mend: a key
    that is refused, no credit, a model that there is none of."""
    import openai

    options: dict[str, Any] = {"model": config.model, "messages": messages, "max_completion_tokens": config.max_tokens}
    if config.temperature >= 0.0:
        options["temperature"] = config.temperature
    if config.structured == "json_schema":
        options["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
    elif config.structured == "json_object":
        options["response_format"] = {"type": "json_object"}
    try:
        async with asyncio.timeout(config.call_deadline_s):
            raw = await client.chat.completions.with_raw_response.create(**options)
            return bytes(raw.http_response.content)
    except (TimeoutError, openai.APITimeoutError):
        raise CallFailed("timeout", is_transient=True) from None
    except openai.APIStatusError as fault:
        raise _status(fault, config) from None
    except openai.APIConnectionError as fault:
        raise _own_failure(fault) or CallFailed("connection", is_transient=True) from None
    except openai.APIError:
        raise CallFailed("wrong_envelope") from None


def _own_failure(fault: BaseException) -> CallFailed | None:
    """The CallFailed that the transport raised, where the client wrapped it."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, CallFailed):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _status(fault: Any, config: JudgeConfig) -> Exception:
    """What a status other than 200 means."""
    status = int(fault.status_code)
    code, said = str(fault.code or ""), str(fault.message or "")[:2000]
    where = config.base_url or OPENAI
    if status in (401, 403):
        what = (
            f"The judge at {where} refuses the key in {config.api_key_env}." if config.api_key_env else f"The judge at {where} wants a key."
        )
        return EnvironmentFault(
            f"{what[:-1]} (HTTP {status}).", "Set the environment variable that judge.api_key_env names to a valid key."
        )
    if status == 429 and code == "insufficient_quota":
        return EnvironmentFault(
            f"The judge at {where} says that the account has no credit left.", "Mend the account, then go on with --resume."
        )
    if (status == 404 or code == "model_not_found" or _NO_MODEL.search(said)) and status < 500 and status != 429:
        return UsageError(f"The judge at {where} has no model {config.model!r} (HTTP {status}).", "Check judge.model and judge.base_url.")
    if status in (400, 413, 422):
        if code == "context_length_exceeded" or _NO_CONTEXT.search(said):
            return CallFailed("context_length")
        if "content_filter" in code or "content_policy" in code:
            return CallFailed("content_filter")
    is_transient = status in (408, 409, 425, 429) or status >= 500
    return CallFailed(f"http_{status}", is_transient=is_transient, retry_after_s=_retry_after_s(fault.response.headers))


def _retry_after_s(headers: Any) -> float | None:
    """The pause that a server asks for: Retry-After in seconds or as a date, no longer than LONGEST_RETRY_AFTER_S; None for nonsense."""
    said = headers.get("retry-after-ms")
    scale = 0.001 if said is not None else 1.0
    said = said if said is not None else headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said) * scale
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None
