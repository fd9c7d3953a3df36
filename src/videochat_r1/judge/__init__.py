"""Captions judged: by their words alone (offline.py), or by a model behind an OpenAI-compatible API (endpoint.py). docs/judge.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from videochat_r1.judge.config import JudgeConfig

if TYPE_CHECKING:
    from videochat_r1.judge.base import Judge

__all__ = ["JudgeConfig", "in_force", "make_judge", "using"]

_used: list[Judge] = []  # the innermost is in force


def make_judge(config: JudgeConfig, folder: Path | None = None) -> Judge:
    """The judge that a recipe names. folder: where its cache lies if the recipe names none, such as the run folder.

    Raises EnvironmentFault where a package, the key or the cache is not there. Nothing is sent."""
    if config.kind == "offline":
        from videochat_r1.judge.offline import OfflineJudge

        return OfflineJudge()
    from videochat_r1.judge.endpoint import EndpointJudge

    path = Path(config.cache) if config.cache else folder / "judge.sqlite" if folder is not None else None
    return EndpointJudge(config, path)


@contextmanager
def using(judge: Judge) -> Iterator[Judge]:
    """Inside, captions are judged by this judge, whoever reads them: training, evaluation, baselines, a report made again."""
    _used.append(judge)
    try:
        yield judge
    finally:
        _used.remove(judge)
        judge.close()


def in_force() -> Judge:
    """The judge that is used; one that goes by the words where none was named."""
    if _used:
        return _used[-1]
    from videochat_r1.judge.offline import OfflineJudge

    return OfflineJudge()
