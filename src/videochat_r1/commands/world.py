"""videochat-r1 world: drawn scenes with exact truth, as files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TextIO

from videochat_r1.commands.display import print_json
from videochat_r1.commands.folders import require_room_for_world
from videochat_r1.commands.options import Command, Given, Options, option, seed_option
from videochat_r1.counting import counted
from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.spelling import did_you_mean


class World(Options):
    """Write the built-in world as real video files, with annotation files in every official format that fits: a training set, and a
    held-out set of a quarter as many scenes."""

    out: str = option(..., "the folder to write into", "DIR", min_length=1)
    clips: int = option(200, "training scenes of each level", ge=1)
    seed: int = seed_option("of the scenes; the same seed draws the same scenes")
    levels: tuple[str, ...] = option(("easy",), "how hard, with commas between: easy, several, alike, long", "A,B,..", min_length=1)
    json_: bool = option(False, "print what was written as JSON")


def run(options: World, out: TextIO, fields: Given) -> int:
    from videochat_r1.world.files import write_world
    from videochat_r1.world.scenes import LEVELS

    for level in options.levels:
        if level not in LEVELS:
            raise UsageError(f"--levels: there is no level {level!r}.", did_you_mean(level, LEVELS))
    folder = Path(options.out)
    require_room_for_world(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        world = write_world(folder, clips=options.clips, seed=options.seed, levels=tuple(dict.fromkeys(options.levels)))
    except OSError as fault:
        mend = "Make room, or give another folder." if fault.errno == errno.ENOSPC else "Give a folder that can be written."
        raise EnvironmentFault(f"Cannot write to {folder}: {fault.strerror or fault}.", mend) from None
    samples = {split: len(found) for split, found in world.samples.items()}
    files = {name: {split: str(path) for split, path in splits.items()} for name, splits in world.annotations.items()}
    if options.json_:
        print_json({"videos": str(world.videos), "samples": samples, "annotations": files}, out)
        return 0
    videos = {sample.video for found in world.samples.values() for sample in found}
    out.write(f"{world.videos}: {counted(len(videos), 'video')}; samples: {samples}\n")
    for name, splits in files.items():
        out.write(f"  {name:<22} {'   '.join(splits.values())}\n")
    return 0


COMMAND = Command(World, run)
