"""The [judge] section of a recipe."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from videochat_r1.section import Section, free, refused, warned

OPENAI = "https://api.openai.com/v1"


class JudgeConfig(Section):
    """Who judges captions, and how it is asked."""

    kind: Literal["offline", "openai"] = refused(
        "offline", "by the words alone, without a model; or a model behind an OpenAI-compatible API"
    )
    base_url: str = warned("", f"where the API is, such as http://localhost:8000/v1; empty: {OPENAI}")
    model: str = refused("", "the judging model's name at that address")
    api_key_env: str = free("OPENAI_API_KEY", "the environment variable that holds the key; empty: the endpoint takes none")
    structured: Literal["json_schema", "json_object", "none"] = refused(
        "json_schema", "how the endpoint is told to answer in JSON; a reply out of form is a failed judgement in any case"
    )
    temperature: float = refused(0.0, "of the judge's draws; below 0 it is not sent, for models that refuse it", le=2.0)
    max_tokens: int = free(2048, "tokens of a reply, at most; one that is cut off is a failed judgement", ge=64)
    concurrency: int = free(32, "calls under way at a time, at most", ge=1)
    requests_per_minute: float = free(0.0, "calls a minute, at most; 0: no limit", ge=0.0)
    tokens_per_minute: float = free(0.0, "tokens sent and received a minute, at most; 0: no limit", ge=0.0)
    call_deadline_s: float = free(60.0, "seconds that one try of a call may take", gt=0.0)
    batch_deadline_s: float = free(600.0, "seconds that a whole batch (of a step, or of 256 samples) may take, pauses included", gt=0.0)
    attempts: int = free(5, "tries of a call that meets 429, a fault of the server or of the network", ge=1)
    backoff_s: float = free(0.5, "first pause before another try; it doubles, with jitter, up to 30 s", gt=0.0)
    breaker_failures: int = free(10, "tries that fail in a row before all calls pause", ge=1)
    breaker_pause_s: float = free(15.0, "seconds of that pause; one call then tries the endpoint for all", gt=0.0)
    canary_every: int = free(32, "calls for each call whose answer is known, sent to watch the judge; 0: none", ge=0)
    cache: str = free("", "an SQLite file that keeps judgements; empty: judge.sqlite in the run folder, and none without one")
    on_failure: Literal["unscorable", "stop"] = warned(
        "unscorable", "what a caption is that could not be judged: left out of its group and counted, or the end of the run"
    )

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # it may be the key itself: it is not shown
            raise ValueError("this is the name of an environment variable, such as OPENAI_API_KEY, never the key itself")
        return name

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url:
            try:
                parts = urlsplit(url)
                sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                sound = False
            if not sound or parts.username or parts.password or parts.query or parts.fragment:
                raise ValueError("an address is http://HOST:PORT/v1 or https://HOST/v1, without a user, a password or a query")
        return url

    @model_validator(mode="after")
    def _names_a_model(self) -> JudgeConfig:
        if self.kind == "openai" and not self.model:
            raise ValueError('model is missing: the judging model\'s name at the endpoint, such as model = "Qwen/Qwen2.5-72B-Instruct"')
        return self
