"""Checkpoints that are there whole or not at all: safetensors and JSON only, hashed, renamed into place, checked before they are believed.

    checkpoints/step-00000050-1f9c0e6b2a7d4c35/    the last part is the manifest's own sha256
        manifest.json     run, step, and the size and sha256 of every other file
        state.json        everything that is not a tensor
        *.safetensors     tensors

A checkpoint is written under a name that starts with .tmp-, each file and the folder synced, and renamed last: a crash at any instant
leaves either no checkpoint or a whole one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from videochat_r1.errors import EnvironmentFault
from videochat_r1.grpo.log import NOTES, sync_folder

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
_NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})")


class NotWritten(Exception):
    """A checkpoint that the disk refused. What was there before is untouched."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was loaded: tensors by file and name, and the state that is not tensors."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run. keep: how many of the newest stay."""

    folder: Path
    run_id: str
    keep: int

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint and give its folder. tensors: by file name (without ending), then by tensor name.

        Raises NotWritten where the disk refuses.
        """
        draft = self.folder / f".tmp-step-{step:08d}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            for name, named in tensors.items():
                save_file({key: tensor.detach().contiguous() for key, tensor in named.items()}, draft / f"{name}.safetensors")
            (draft / "state.json").write_text(json.dumps(state, allow_nan=False))
            _failpoint("after_tensors")
            files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(draft.iterdir())}
            manifest = json.dumps({"format": FORMAT, "run": self.run_id, "step": step, "files": files}).encode()
            (draft / "manifest.json").write_bytes(manifest)
            _failpoint("after_manifest")
            for path in draft.iterdir():
                _sync_file(path)
            sync_folder(draft)
            _failpoint("before_rename")
            final = self.folder / _name_of(step, manifest)
            if final.exists():  # the same step with the same bytes
                shutil.rmtree(draft)
            else:
                draft.rename(final)
            sync_folder(self.folder)
            _failpoint("after_rename")
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise NotWritten(self._what_failed(error, tensors)) from error
        self._prune()
        return final

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and this run's; None where there never was one. Damaged ones are set aside, and it is said.

        Raises EnvironmentFault where there are checkpoints but none can be believed.
        """
        self._sweep()
        found = self._found()
        damaged = []
        for path in found:
            try:
                loaded = self._load(path)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
                damaged.append(path)
                NOTES.warning("Checkpoint %s is not used: %s.", path.name, error)
                continue
            for each in damaged:
                each.rename(each.with_name(f"damaged-{each.name}"))
            if damaged:
                NOTES.warning("Going on from step %d instead.", loaded.step)
            return loaded
        if damaged:
            what = f"None of the {len(damaged)} checkpoints in {self.folder} is whole and of this run."
            raise EnvironmentFault(what, "Start again in another folder with --out, or put a whole checkpoint back.")
        return None

    def last_step(self) -> int | None:
        """The step of the newest checkpoint, unread; None where there is none."""
        return next((int(path.name[5:13]) for path in self._found()), None)

    def _found(self) -> list[Path]:
        """Checkpoints by name, the newest first; of two of the same step the one written last."""
        paths = [path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (int(path.name[5:13]), path.stat().st_mtime_ns, path.name), reverse=True)

    def _load(self, path: Path) -> Checkpoint:
        manifest_bytes = (path / "manifest.json").read_bytes()
        manifest = json.loads(manifest_bytes)
        if path.name != _name_of(manifest["step"], manifest_bytes):
            raise ValueError("its manifest was changed")
        if manifest["format"] != FORMAT or manifest["run"] != self.run_id:
            raise ValueError("it belongs to another run than run.json names")
        for name, expected in manifest["files"].items():
            if (path / name).stat().st_size != expected["bytes"] or _sha256(path / name) != expected["sha256"]:
                raise ValueError(f"{name} was changed")
        tensors = {name.removesuffix(".safetensors"): load_file(path / name) for name in manifest["files"] if name.endswith(".safetensors")}
        return Checkpoint(path=path, step=manifest["step"], tensors=tensors, state=json.loads((path / "state.json").read_bytes()))

    def _prune(self) -> None:
        """Remove all but the newest. A name is given up before its files are, so what is half removed is never taken for a checkpoint."""
        try:
            for path in self._found()[self.keep :]:
                doomed = path.with_name(f".tmp-pruned-{path.name}")
                path.rename(doomed)
                _failpoint("prune")
                shutil.rmtree(doomed)
        except OSError as error:
            NOTES.warning("Old checkpoints in %s could not be removed: %s.", self.folder, error.strerror)

    def _sweep(self) -> None:
        for path in self.folder.glob(".tmp-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _what_failed(self, error: Exception, tensors: Mapping[str, Mapping[str, Tensor]]) -> str:
        try:
            free = f"{disk_text(shutil.disk_usage(self.folder).free)} free"
        except OSError:
            free = "the folder is gone"
        return f"{error} ({disk_text(bytes_of(tensors))} needed, {free})"


def disk_text(count: int) -> str:
    """Bytes of a disk in the unit that shows them: "700 kB", "512.0 MB", "2.5 GB"."""
    if count < 2**20:
        return f"{count / 2**10:,.0f} kB"
    return f"{count / 2**30:,.1f} GB" if count >= 2**30 else f"{count / 2**20:,.1f} MB"


def bytes_of(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """How many bytes a checkpoint's tensors take."""
    return sum(tensor.numel() * tensor.element_size() for named in tensors.values() for tensor in named.values())


def _name_of(step: int, manifest: bytes) -> str:
    return f"step-{step:08d}-{hashlib.sha256(manifest).hexdigest()[:16]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failpoint(name: str) -> None:
    """Die here, as by kill -9, where VIDEOCHAT_R1_FAILPOINT says so: how tests reach every instant of a write."""
    if os.environ.get("VIDEOCHAT_R1_FAILPOINT") == f"ckpt:{name}":
        os.kill(os.getpid(), signal.SIGKILL)
