"""A judging model behind an OpenAI-compatible API: many calls at a time, bounded in rate, in time and in what they may say.

A caption takes one call for the reward (which true events does it tell?) and two more for precision (which events does it claim, and which
of those are true?). Equal calls of a batch are made once, and none whose answer is in the cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from videochat_r1.errors import EnvironmentFault
from videochat_r1.judge import prompts, transport
from videochat_r1.judge.base import Question
from videochat_r1.judge.cache import Cache
from videochat_r1.judge.config import OPENAI, JudgeConfig
from videochat_r1.judge.limits import Breaker, Bucket
from videochat_r1.judge.schema import (
    ENTAILMENT_SCHEMA,
    EVENTS_SCHEMA,
    CallFailed,
    checked_events,
    checked_labels,
    content_of,
    entailed,
    read_events,
    read_labels,
)
from videochat_r1.types import Verdict

NOTES = logging.getLogger("videochat_r1.judge")
LONGEST_PAUSE_S = 30.0  # between two tries, where the server asks for none
BATCH = 256
"""Questions that are judged together, under one deadline."""

Reply = TypeVar("Reply")


class EndpointJudge:
    """Judges by a model at an address. One for a run: its limits, its breaker and its counts go on from batch to batch.

    Raises EnvironmentFault where the packages, the key or the cache are not there; nothing is sent before the first batch."""

    def __init__(self, config: JudgeConfig, cache: Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        transport.key_of(config)
        self.config = config
        self.name = f"{config.model} at {config.base_url or OPENAI}"
        self.cache = Cache(cache)
        self.requests = Bucket(config.requests_per_minute, clock)
        self.tokens = Bucket(config.tokens_per_minute, clock)
        self.breaker = Breaker(config.breaker_failures, config.breaker_pause_s, clock)
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._asked = 0  # calls about statements, canaries aside
        self._busy = threading.Lock()

    def judge(self, questions: Sequence[Question], *, precision: bool) -> list[Verdict]:
        """See Judge. With on_failure = "stop" raises EnvironmentFault for the first caption that could not be judged."""
        verdicts: list[Verdict] = []
        with self._busy:
            for start in range(0, len(questions), BATCH):
                verdicts += _in_a_loop(self._batch(questions[start : start + BATCH], precision))
                self._count(verdicts[start:])
        return verdicts

    def figures(self) -> dict[str, float]:
        """Since the last call: captions judged, failed and why, calls made, tries again, answers from the cache, tokens, canaries wrong."""
        counts, failures = self.counts, self.failures
        self.counts, self.failures = Counter(), Counter()
        names = ("captions", "failed", "calls", "retries", "cache_hits", "tokens", "canaries", "canaries_wrong")
        found = {name: float(counts[name]) for name in names}
        found["canary_errors"] = counts["canaries_wrong"] / counts["canaries"] if counts["canaries"] else math.nan
        return {**found, **{f"failed/{reason}": float(count) for reason, count in failures.items()}}

    def close(self) -> None:
        self.cache.close()

    def watch(self, number: int) -> dict[str, float]:
        """Ask `number` canaries and nothing else, a known answer each; figures() of them. For `videochat-r1 judge check`."""

        async def ask(client: Any) -> None:
            turns = [asyncio.create_task(self._canary(_Batch(self, client), index)) for index in range(number)]
            try:
                done, late = await asyncio.wait(turns, timeout=self.config.batch_deadline_s, return_when=asyncio.FIRST_EXCEPTION)
                fault = next((turn.exception() for turn in done if turn.exception() is not None), None)
            finally:
                await _cancelled(turns)
            if fault is not None:
                raise fault
            self.failures.update({"canary_call/batch_deadline": len(late)} if late else {})

        with self._busy:
            _in_a_loop(self._with_client(ask))
        return self.figures()

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        lost = [verdict.failure for verdict in verdicts if verdict.failure]
        self.counts["captions"] += len(verdicts)
        self.counts["failed"] += len(lost)
        self.failures.update(lost)
        if lost and self.config.on_failure == "stop":
            what = f"{len(lost):,} of {len(verdicts):,} captions could not be judged by {self.name}; the first: {lost[0]}."
            raise EnvironmentFault(what, 'Mend the judge and go on with --resume, or set judge.on_failure = "unscorable".')

    # -- a batch

    async def _with_client(self, work: Callable[[Any], Awaitable[Reply]]) -> Reply:
        client = transport.make_client(self.config)
        try:
            return await work(client)
        finally:
            await client.close()

    async def _batch(self, questions: Sequence[Question], precision: bool) -> list[Verdict]:
        return await self._with_client(lambda client: self._judged(_Batch(self, client), questions, precision))

    async def _judged(self, batch: _Batch, questions: Sequence[Question], precision: bool) -> list[Verdict]:
        """All verdicts, at the batch's deadline at the latest."""
        tasks = [asyncio.create_task(batch.verdict(question, precision)) for question in questions]
        end_s = asyncio.get_running_loop().time() + self.config.batch_deadline_s
        try:
            done, late = await asyncio.wait(tasks, timeout=self.config.batch_deadline_s, return_when=asyncio.FIRST_EXCEPTION)
            fault = next((task.exception() for task in done if task.exception() is not None), None)
            reason = "circuit_open" if self.breaker.is_open else "batch_deadline"
            if batch.canaries and fault is None:
                left_s = end_s - asyncio.get_running_loop().time()
                await asyncio.wait(batch.canaries, timeout=max(0.0, min(left_s, self.config.call_deadline_s)))
        finally:
            await batch.close()
            await _cancelled(tasks)
        if fault is not None:
            raise fault
        return [Verdict(failure=reason) if task in late else task.result() for task in tasks]

    async def _canary(self, batch: _Batch, number: int) -> None:
        """A call whose answer is known, counted and not kept; one that fails says nothing about the judge's eyes."""
        known = prompts.canary(number)
        statements = [*known.follow, *known.not_follow]
        order = random.Random(number).sample(range(len(statements)), len(statements))
        nonce = prompts.new_nonce()
        try:
            text = await batch.call(prompts.entailment(known.description, [statements[index] for index in order], nonce), ENTAILMENT_SCHEMA)
            labels = read_labels(text, len(statements))
        except CallFailed as failed:
            self.failures["canary_call/" + failed.reason] += 1
            return
        wrong = sum((label == "entailment") != (index < len(known.follow)) for label, index in zip(labels, order, strict=True))
        self.counts["canaries"] += len(labels)
        self.counts["canaries_wrong"] += wrong


class _Batch:
    """The calls of one batch: how many at a time, and which of them are the same."""

    def __init__(self, owner: EndpointJudge, client: Any) -> None:
        self.owner, self.config, self.client = owner, owner.config, client
        self.slots = asyncio.Semaphore(owner.config.concurrency)
        self.shared: dict[str, asyncio.Task[Any]] = {}
        self.canaries: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """End what is still under way."""
        await _cancelled([*self.shared.values(), *self.canaries])

    async def verdict(self, question: Question, precision: bool) -> Verdict:
        """What is found in one caption; a failure where any of its calls failed: the first in their order, whichever came first in time.
        Raises UserFault."""
        question = replace(question, caption=cleaned(question.caption))
        turns = [self._told(question), self._borne_out(question)] if precision else [self._told(question)]
        found: list[Any] = list(await asyncio.gather(*turns, return_exceptions=True))
        for fault in found:
            if isinstance(fault, BaseException) and not isinstance(fault, CallFailed):
                raise fault
        failed = [each for each in found if isinstance(each, CallFailed)]
        if failed:
            return Verdict(failure=failed[0].reason)
        if not precision:
            return Verdict(told=found[0])
        return Verdict(told=found[0], claims=found[1][0], borne_out=found[1][1])

    async def _told(self, question: Question) -> tuple[bool, ...]:
        return await self.entailed(question.caption, question.events or await self.events(question.reference))

    async def _borne_out(self, question: Question) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        claims = await self.events(question.caption)
        return claims, await self.entailed(question.description, claims)

    async def events(self, description: str) -> tuple[str, ...]:
        """The events that a description tells. Raises CallFailed and UserFault."""

        async def ask() -> tuple[str, ...]:
            return read_events(await self.call(prompts.extraction(description, prompts.new_nonce()), EVENTS_SCHEMA))

        return await self._once("events", [description], ask, checked_events)

    async def entailed(self, description: str, statements: Sequence[str]) -> tuple[bool, ...]:
        """Which statements follow from a description. Raises CallFailed and UserFault."""
        if not statements:
            return ()

        async def ask() -> tuple[str, ...]:
            return await self._labels(description, statements)

        kept = [description, list(statements)]
        return entailed(await self._once("entailment", kept, ask, lambda value: checked_labels(value, len(statements))))

    async def _labels(self, description: str, statements: Sequence[str]) -> tuple[str, ...]:
        """One statement more is asked about, which no description tells: a judge that finds it told has been talked round."""
        owner = self.owner
        owner._asked += 1
        if self.config.canary_every and owner._asked % self.config.canary_every == 1 % self.config.canary_every:
            self.canaries.append(asyncio.create_task(owner._canary(self, owner._asked // self.config.canary_every)))
        place = random.SystemRandom().randrange(len(statements) + 1)
        asked = [*statements[:place], prompts.decoy(description), *statements[place:]]
        text = await self.call(prompts.entailment(description, asked, prompts.new_nonce()), ENTAILMENT_SCHEMA)
        labels = read_labels(text, len(asked))
        owner.counts["canaries"] += 1
        if labels[place] == "entailment":
            owner.counts["canaries_wrong"] += 1
            raise CallFailed("canary")
        return (*labels[:place], *labels[place + 1 :])

    async def _once(
        self, kind: str, content: list[Any], ask: Callable[[], Coroutine[Any, Any, Reply]], check: Callable[[Any], Reply]
    ) -> Reply:
        """The answer from the cache, from the same call already under way, or from a call of its own."""
        key = self._key(kind, content)
        if key not in self.shared:
            kept = self.owner.cache.get(key)
            if kept is not None:
                try:
                    found = check(kept)
                    self.owner.counts["cache_hits"] += 1
                    return found
                except CallFailed:
                    pass  # a row that something else wrote: asked again, and replaced
            self.shared[key] = asyncio.create_task(self._kept(key, ask))
        return await asyncio.shield(self.shared[key])

    async def _kept(self, key: str, ask: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        found = await ask()
        self.owner.cache.put(key, found)
        return found

    def _key(self, kind: str, content: list[Any]) -> str:
        """What a judgement depends on; neither the address nor the key."""
        settings = [self.config.model, self.config.temperature, self.config.structured]
        text = json.dumps([prompts.VERSION, kind, settings, content], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    async def call(self, messages: prompts.Messages, schema: dict[str, Any]) -> str:
        """The text that the endpoint replies with, after as many tries as it takes and may. Raises CallFailed and UserFault."""
        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

        def pause(state: RetryCallState) -> float:
            failed = state.outcome.exception() if state.outcome is not None else None
            asked = failed.retry_after_s if isinstance(failed, CallFailed) else None
            drawn = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, self.config.backoff_s * 2 ** (state.attempt_number - 1))
            return drawn if asked is None else asked + 0.1 * drawn

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.config.attempts),
            wait=pause,
            before_sleep=lambda state: self.owner.counts.update(retries=1),
            retry=retry_if_exception(lambda fault: isinstance(fault, CallFailed) and fault.is_transient),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._try(messages, schema)
        raise AssertionError("tenacity ends with a value or an exception")

    async def _try(self, messages: prompts.Messages, schema: dict[str, Any]) -> str:
        owner = self.owner
        async with self.slots:
            estimate = sum(len(message["content"]) for message in messages) / 3 + 200
            await asyncio.sleep(max(owner.requests.take(1.0), owner.tokens.take(estimate)))
            while pause := owner.breaker.wait_s():
                await asyncio.sleep(pause)
            try:
                owner.counts["calls"] += 1
                body = await transport.call(self.client, self.config, messages, schema)
            except CallFailed as failed:
                owner.breaker.failed() if failed.is_transient and failed.reason != "http_429" else owner.breaker.went_well()
                raise
            except BaseException:
                owner.breaker.given_up()
                raise
            owner.breaker.went_well()
        text, tokens = content_of(body)
        owner.counts["tokens"] += tokens
        owner.tokens.settle(tokens - estimate if tokens else 0.0)
        return text


def cleaned(text: str) -> str:
    """A caption without what no text has (halves of surrogate pairs, control characters): a space in place of each."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _in_a_loop(work: Coroutine[Any, Any, Reply]) -> Reply:
    """Run to the end in an event loop of its own; in another thread where this one already runs one (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
