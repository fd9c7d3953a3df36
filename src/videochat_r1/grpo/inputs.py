"""What a run reads beside its recipe and its rows: the model's files, Python files of the user's own, and videos.

They are kept in the run folder's inputs.json when a run begins and compared when it goes on: another model, task or film at the same path
would change what is learned without a word. A run that an earlier version began has no such file, and gets one when it goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from videochat_r1.counting import counted
from videochat_r1.errors import UsageError
from videochat_r1.evaluation.answer_cache import model_digest
from videochat_r1.grpo.log import INPUTS, NOTES, json_line, write_whole
from videochat_r1.types import Sample


@dataclass(frozen=True)
class Inputs:
    """What stands for the content of all that a run reads from a path."""

    model: str  # a digest of the files of policy.path, and of an adapter's base
    files: dict[str, str]  # SHA-256 of each .py file, by the recipe's field that names it
    videos: dict[str, dict[str, int]]  # bytes of each video, by its path from the source's folder; by source: "data.0", "data.1", ...


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was. is_refused: it changes what is learned, not only what the model is tested on."""

    what: str
    is_refused: bool = True


def inputs_of(policy: str, named: Mapping[str, str], videos: Mapping[str, tuple[str, Sequence[Sample]]]) -> Inputs:
    """What is there now. policy: as policy.path. named: names of tasks, data sets and engines by their fields, those of the package's own
    among them. videos: by source its folder of videos, and its samples. Raises UsageError or EnvironmentFault for a model that is not here.

    A large file of a model is read in parts and a video not at all, so it takes a moment."""
    files = {field: hashlib.sha256(Path(name).read_bytes()).hexdigest() for field, name in named.items() if name.endswith(".py")}
    return Inputs(model_digest(policy, whole=False), files, {source: _sizes(*own) for source, own in videos.items()})


def keep_inputs(folder: Path, inputs: Inputs) -> None:
    """Raises EnvironmentFault where the disk refuses."""
    write_whole(folder / INPUTS, json_line(dataclasses.asdict(inputs)))


def kept_inputs(folder: Path) -> Inputs | None:
    """What the run in a folder was begun with; None where no file says so, and where it is damaged, which is noted."""
    path = folder / INPUTS
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_bytes())
        return Inputs(str(values["model"]), dict(values["files"]), {source: dict(own) for source, own in values["videos"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        NOTES.warning("%s is damaged: whether model, videos and .py files are those of before cannot be told.", path)
        return None


def differences(then: Inputs, now: Inputs, named: Mapping[str, str]) -> list[Difference]:
    """What is another content than it was, in a line each. named: as in inputs_of, with the model's "policy.path". A field that only one of
    the two has is a change of the recipe, and a video that only one has one of the rows."""
    found = []
    if then.model != now.model:
        found.append(Difference(f"policy.path: {named['policy.path']} holds another model"))
    for field in then.files.keys() & now.files.keys():
        if then.files[field] != now.files[field]:
            found.append(Difference(f"{field}: {named[field]} was edited", is_refused=not field.startswith("test.")))
    for source in then.videos.keys() & now.videos.keys():
        before, after = then.videos[source], now.videos[source]
        both = [video for video in after if video in before]
        if other := [video for video in both if before[video] != after[video]]:
            what = f"{len(other):,} of {counted(len(both), 'file')} have another size, the first: {other[0]}"
            found.append(Difference(f"{source}.videos: {what}"))
    return sorted(found, key=lambda each: each.what)


def require_same_inputs(found: Sequence[Difference], *, anyway: bool) -> None:
    """Raises UsageError, showing all that differs, where something of it is refused and `anyway` is False."""
    if any(each.is_refused for each in found) and not anyway:
        what = "What the run was started with has other content now:\n" + "\n".join(f"  {each.what}" for each in found)
        mend = "Put back what was there, or start another run with --out; `videochat-r1 train` can also go on with it, by --resume-anyway."
        raise UsageError(what, mend)


def _sizes(folder: str, samples: Sequence[Sample]) -> dict[str, int]:
    """Bytes of the video files; a folder of pictures, and what is not there, has none. Not the time of change, which copying changes."""
    found: dict[str, int] = {}
    for path in dict.fromkeys(sample.video for sample in samples):
        try:
            stat = os.stat(path)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            continue
        if S_ISREG(stat.st_mode):
            found[os.path.relpath(path, folder) if folder else path] = stat.st_size
    return found
