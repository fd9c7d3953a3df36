"""A run's progress on stderr: a bar, rewards by name and task, speed and time left; plain lines where nobody is watching a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from videochat_r1.evaluation.curves import NOT_TASKS
from videochat_r1.evaluation.legend import one_line, plain, task_name

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

RECENT_STEPS = 20
"""Speed and rewards are means over this many steps at most."""
TOKEN_RATES = ("throughput/tokens_per_second", "tokens_per_second")


class Live:
    """Progress of `total_steps` steps, as a context manager. Give it each row of metrics.jsonl in turn.

        with Live(config.steps) as live:
            trainer.run(on_step=live.on_step)

    On a terminal the display is redrawn in place, at most 8 times a second. Elsewhere (a file, a pipe, CI) a line is written for the first
    and the last step and at most every `every_s` seconds in between. Outside of the with-block rows are taken and lines are written.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        title: str = "Training",
        unit: str = "steps",
        every_s: float = 5.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console

        self.total_steps, self.title, self.unit, self.every_s, self.clock = total_steps, one_line(title, 60), unit, every_s, clock
        self.console = console or Console(stderr=True)
        self.recent: deque[tuple[float, int, Mapping[str, Any]]] = deque(maxlen=RECENT_STEPS + 1)  # when, step, its row
        self.started_s = clock()
        self.first_step: int | None = None
        self.step = 0
        self._written_s: float | None = None
        self._display: Any = None

    def __enter__(self) -> Live:
        if self.console.is_terminal:
            from rich.live import Live as Display

            self._display = Display(self.render(), console=self.console, refresh_per_second=8, transient=False)
            self._display.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        if self._display is not None:
            self._display.update(self.render())
            self._display.stop()
            self._display = None

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        from rich.text import Text

        self.console.print(Text(plain(text, 500)), soft_wrap=True)

    def begin(self, step: int) -> None:
        """So many steps were done before: they are no part of the pace."""
        self.step = self.first_step = step
        self.recent.append((self.clock(), step, {}))

    def on_count(self, done: int) -> None:
        """So many are done by now. What the first call finds was done before, or nothing was: it tells no pace."""
        if self.first_step is None:
            self.begin(done)
        self.on_step({"step": done})

    def on_step(self, row: Mapping[str, Any]) -> None:
        """Take one row of metrics.jsonl; without a "step" it is the next one."""
        now_s = self.clock()
        self.step = int(row.get("step", self.step + 1))
        if self.first_step is None:
            self.first_step = self.step
            spent_s = row.get("seconds/step")  # loading came before the first step and is no part of the pace
            self.recent.append((now_s - spent_s if isinstance(spent_s, int | float) else self.started_s, self.step - 1, {}))
        self.recent.append((now_s, self.step, dict(row)))
        if self._display is not None:
            self._display.update(self.render())
        elif self._written_s is None or now_s - self._written_s >= self.every_s or self.step >= self.total_steps:
            self._written_s = now_s
            self.say(self.line())

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the recent steps; None before one took a time that the clock can tell."""
        steps = self.recent[-1][1] - self.recent[0][1] if self.recent else 0
        spent_s = self.recent[-1][0] - self.recent[0][0] if self.recent else 0.0
        return spent_s / steps if steps > 0 and spent_s > 0 else None

    @property
    def seconds_left(self) -> float | None:
        pace = self.seconds_per_step
        return None if pace is None else max(0, self.total_steps - self.step) * pace

    @property
    def tokens_per_second(self) -> float | None:
        """The last row's own figure."""
        row = self.recent[-1][2] if self.recent else {}
        return next((float(row[key]) for key in TOKEN_RATES if isinstance(row.get(key), int | float)), None)

    def means(self) -> dict[str, float]:
        """Recent means of the reward, of each named reward and of each task's reward, in this order, by the name to show."""
        keys = list(dict.fromkeys(key for *_, row in self.recent for key in row))
        named = [key for key in keys if key.startswith("rewards/") and key.count("/") == 1]
        tasks = [key for key in keys if key.endswith("/reward") and not key.startswith(NOT_TASKS)]
        shown = {"reward": "reward"} | {key: one_line(key.removeprefix("rewards/"), 24) for key in named}
        shown |= {key: task_name(key.removesuffix("/reward")) for key in tasks}
        found = {}
        for key, name in shown.items():
            values = [float(row[key]) for *_, row in self.recent if isinstance(row.get(key), int | float)]
            if values:
                found[name] = sum(values) / len(values)
        return found

    def speed_text(self) -> str:
        """Steps (or whatever the unit is) a minute, tokens a second, time left; what is not known yet is left out."""
        parts = []
        if (pace := self.seconds_per_step) is not None:
            parts.append(f"{60 / pace:.1f} {self.unit}/min")
        if (tokens := self.tokens_per_second) is not None:
            parts.append(f"{tokens:,.0f} tokens/s")
        if (left := self.seconds_left) is not None:
            parts.append(f"{duration_text(left)} left")
        return ", ".join(parts)

    def line(self) -> str:
        """One step as a line of plain text."""
        rewards = "  ".join(f"{name} {value:.3f}" for name, value in self.means().items())
        return f"{self.title} {self.step}/{self.total_steps}  {rewards}  {self.speed_text()}"

    def render(self) -> RenderableType:
        """The display of a terminal."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=max(self.total_steps, 1), completed=self.step, complete_style="blue", finished_style="green")
        head.add_row(
            Text.assemble((self.title, "bold"), f"  {self.step}/{self.total_steps}"),
            bar,
            Text(duration_text(self.clock() - self.started_s), style="dim"),
        )
        words = Text(self.speed_text(), style="dim")
        figures = Text()
        for name, value in self.means().items():
            figures.append(f"{name} ", style="dim").append(f"{value:.3f}   ", style="bold")
        return Group(head, figures, words)


def duration_text(seconds: float) -> str:
    """ "48 s", "3:05 min" or "2:10 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02d} h"
