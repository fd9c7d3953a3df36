"""What all benchmarks share: clocks, ceilings, medians, a record that is on disk after every row, and a table at the end.

Seconds are of device events on a GPU, so that a phase counts from when the device came to it until it was through, gaps in which it waited
for the host included; elsewhere they are of the wall clock. Bytes are of the allocator on a GPU; elsewhere of what a graph keeps."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import functools
import importlib.metadata
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from videochat_r1.errors import EnvironmentFault, UsageError, UserFault

OUT = Path("runs/benchmarks")
VERSIONS = ("torch", "transformers", "peft", "triton", "trl", "av", "videochat-r1")
Row = dict[str, Any]
Given, Made = ParamSpec("Given"), TypeVar("Made")


def command(main: Callable[Given, Made]) -> Callable[Given, Made]:
    """A benchmark's main that ends as `videochat-r1` does: a user's own fault is said in a line or two, and its exit code is 2 for a wrong
    argument, 3 for data, 4 for what the machine lacks, 5 where it was interrupted: rows that were done are in its file."""

    @functools.wraps(main)
    def ended(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            return main(*args, **kwargs)
        except UserFault as fault:
            say(str(fault))
            raise SystemExit(fault.exit_code) from None
        except KeyboardInterrupt:
            say("Interrupted. Rows that were done are in the JSON file.")
            raise SystemExit(5) from None

    return ended


def arguments(doc: str | None, name: str, *, threads: int = 2, budget_s: float = 500.0) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=positive, default=threads, help="of torch, on a CPU")
    parser.add_argument(
        "--clock",
        choices=["wall", "processor"],
        default="wall",
        help="on a CPU: seconds of the wall clock, or of this process's processor time, which other jobs disturb less (with --threads 1)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--budget-seconds", type=above_zero, default=budget_s, help="start nothing that is not expected to end within these"
    )
    parser.add_argument("--out", type=Path, default=None, help=f"the JSON file; default {OUT}/{name}-*.json")
    return parser


def begin(chosen: argparse.Namespace) -> torch.device:
    """Threads and seed as chosen; the device. Raises UsageError for a name that is no device's, EnvironmentFault where there is none."""
    is_known = chosen.device.partition(":")[0] in ("cpu", "cuda")
    try:
        device = torch.device(chosen.device if is_known else "")
    except RuntimeError:
        raise UsageError(f"--device: {chosen.device!r} is no device.", "Give cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--device: no GPU can be used here.", "Give --device cpu, and a small --geometry.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"--device: there is no {chosen.device} here.", f"Give one below cuda:{torch.cuda.device_count()}.")
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # clocks and kernels are of the current one
    torch.set_num_threads(chosen.threads)
    Clock.on_cpu = time.process_time if chosen.clock == "processor" else time.perf_counter
    torch.manual_seed(chosen.seed)
    return device


def listed(text: str) -> list[str]:
    """A comma list of a command line."""
    return [part.strip() for part in text.split(",") if part.strip()]


def among(*known: str) -> Callable[[str], list[str]]:
    """Reads a comma list of known names. Another name is an error of the command line."""

    def read(text: str) -> list[str]:
        for name in (names := listed(text)):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(known)}")
        if not names:
            raise argparse.ArgumentTypeError(f"give some of: {', '.join(known)}")
        return names

    return read


def numbers(text: str) -> list[int]:
    """A comma list of whole numbers above 0."""
    return [positive(part) for part in listed(text)] or [positive(text)]


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def above_zero(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


# -- clocks ---------------------------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds by phase, and on a GPU the peak of memory in each: `with clock("policy"): ...`. A phase met again adds to its seconds."""

    on_cpu: Callable[[], float] = time.perf_counter  # what tells the time on a CPU: begin() sets it for the process

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self.added_bytes: dict[str, int] = {}  # the peak above what was there when the phase began: activations and what else it makes

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if not self.on_gpu:
            now = Clock.on_cpu
            began = now()
            yield
            self._add(phase, now() - began)
            return
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        yield
        end.record()
        end.synchronize()
        self._add(phase, start.elapsed_time(end) / 1e3)
        peak = torch.cuda.max_memory_allocated()
        self.peak_bytes[phase] = max(self.peak_bytes.get(phase, 0), peak)
        self.added_bytes[phase] = max(self.added_bytes.get(phase, 0), peak - before)

    def _add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


def seconds_of(work: Callable[[], object], device: torch.device, *, runs: int, warmups: int = 1, until: float | None = None) -> list[float]:
    """Seconds of each of so many runs, after warm-ups that are not counted; fewer, but one at least, past the instant `until`."""
    for _ in range(warmups):
        work()
    taken: list[float] = []
    while len(taken) < runs and (not taken or until is None or time.perf_counter() < until):
        clock = Clock(device)
        with clock("work"):
            work()
        taken.append(clock.seconds["work"])
    return taken


def spread(taken: Sequence[float]) -> Row:
    """Median, least and number of some runs."""
    return {"median_s": statistics.median(taken), "min_s": min(taken), "runs": len(taken)}


def medians(clocks: Sequence[Clock]) -> dict[str, float]:
    """The median seconds of each phase over several clocks."""
    return {phase: statistics.median(clock.seconds[phase] for clock in clocks) for phase in clocks[0].seconds}


class Budget:
    """How long a command may go on. `room` says whether another item is expected to end in time, by the last one of its kind."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds
        self._costs: dict[str, tuple[float, float]] = {}  # kind -> (seconds, size) of its last item

    def left(self) -> float:
        return self.end - time.perf_counter()

    def room(self, kind: str, size: float) -> bool:
        cost, of_size = self._costs.get(kind, (0.0, 1.0))
        return self.left() > max(cost * size / of_size, 1e-9)

    @contextmanager
    def spending(self, kind: str, size: float) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._costs[kind] = (time.perf_counter() - began, size)


class GraphBytes:
    """Inside, counts what graphs keep for their backward passes: each storage once, those of `constants` (weights) left out. What a
    checkpointed layer makes again in the backward pass is not counted."""

    def __init__(self, constants: Iterable[torch.Tensor]) -> None:
        self._known = {each.untyped_storage().data_ptr() for each in constants}
        self._kept: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def take(self) -> int:
        """Bytes since the last call: to be called while the graph is alive, or its storages are reused under other sizes."""
        total = sum(self._kept.values())
        self._kept.clear()
        return total

    def __enter__(self) -> GraphBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        self._hooks.__exit__(*fault)  # type: ignore[arg-type]


def ceilings(device: torch.device, dtype: torch.dtype) -> Row:
    """What this device does at best, read in this run: TFLOP/s of a large square matrix product on random data, and GB/s of a large copy,
    bytes read and written both counted. The best of 15 runs of each: a ceiling is what can be reached."""
    on_gpu = device.type == "cuda"
    side, elements = (8192, 2**29) if on_gpu else (1024, 2**24)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product_s = min(seconds_of(lambda: a @ b, device, runs=15, warmups=5))
    source = torch.ones(elements, device=device, dtype=dtype)
    target = torch.empty_like(source)
    copy_s = min(seconds_of(lambda: target.copy_(source), device, runs=15, warmups=3))
    return {
        "matmul_tflops": 2 * side**3 / product_s / 1e12,
        "copy_gbs": 2 * source.nbytes / copy_s / 1e9,
        "matmul": f"{side} x {side} x {side}, {str(dtype).removeprefix('torch.')}",
        "copy_bytes": source.nbytes,
    }


# -- records --------------------------------------------------------------------------------------------------------------------------


class Record:
    """What a command measured, in a JSON file that is whole after every row. A file of an earlier run is there until the first row.
    Raises EnvironmentFault where there can be none."""

    def __init__(self, name: str, chosen: argparse.Namespace, device: torch.device, label: str, settings: Mapping[str, Any]) -> None:
        self.path: Path = chosen.out or OUT / f"{name}-{label}.json"
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._draft.touch()
            self._draft.unlink()
        except OSError as fault:
            raise EnvironmentFault(f"--out: {self.path} cannot be written: {fault.strerror}.", "Name a file to write.") from None
        self.began = time.perf_counter()
        self.content: dict[str, Any] = {
            "benchmark": name,
            "command": f"python -m benchmarks.{name} {shlex.join(_argv())}".rstrip(),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "card": card(device),
            "versions": versions(),
            "commit": commit(),
            "threads": chosen.threads if device.type == "cpu" else None,
            "clock": chosen.clock if device.type == "cpu" else "device events",
            "load_average_before": load_average(),
            "settings": dict(settings),
            "rows": [],
        }

    @property
    def _draft(self) -> Path:
        return self.path.with_name(f".tmp-{self.path.name}")

    def note(self, **values: Any) -> None:
        """Put something beside the rows."""
        self.content.update(values)
        if self.content["rows"]:
            self.write()

    def add(self, row: Row) -> None:
        """A row; said on stderr in one line."""
        self.content["rows"].append(row)
        self.write()
        say(
            f"[{time.perf_counter() - self.began:5.0f} s] "
            + ", ".join(f"{key} {_short(value)}" for key, value in row.items() if value is not None)
        )

    def write(self) -> None:
        self.content["load_average_after"] = load_average()
        self.content["seconds"] = round(time.perf_counter() - self.began, 1)
        self._draft.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        self._draft.replace(self.path)

    def end(self, columns: Mapping[str, Callable[[Row], object]]) -> None:
        """Write for the last time and print the table."""
        self.write()
        print(f"{self.content['card']}; torch {torch.__version__}; {self.content['date']}; load {self.content['load_average_before']}")
        if "ceilings" in self.content:
            print(f"ceilings: {self.content['ceilings']['matmul_tflops']:.3g} TFLOP/s, {self.content['ceilings']['copy_gbs']:.4g} GB/s")
        print(table(self.content["rows"], columns))
        print(f"JSON: {self.path}")


def _argv() -> list[str]:
    """The command's own words; paths of this machine shortened to their last part."""
    return [Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:]]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(each)}" for key, each in value.items()) + "}"
    return str(value)


def table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], object]]) -> str:
    """A Markdown table; a column whose function meets a missing key stays empty in that row."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = []
        for read in columns.values():
            cell: object = ""
            with contextlib.suppress(KeyError, TypeError):
                cell = read(row)
            cells.append("" if cell is None else _short(cell))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(device: torch.device) -> str:
    """The name of what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{os.cpu_count()} cores, {model}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    found["torch"] = str(torch.__version__)
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def commit() -> str | None:
    """The checkout's commit, with a plus where files differ from it; None where git or its folder is missing."""
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def load_average() -> list[float]:
    return [round(load, 2) for load in os.getloadavg()]
