"""Probe, plan, decode and resize at the released budget: milliseconds a clip.

    python benchmarks/video.py FILE ... [--runs 3] [--frames 32]

Best of the runs, one decoder thread, in one process that has torch and torchvision loaded."""

from __future__ import annotations

import argparse
import time

import torch

from videochat_r1.video.decode import decode, probe
from videochat_r1.video.resize import Geometry
from videochat_r1.video.sampling import VideoConfig, plan_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, default=0, help="just so many frames, evenly spread; 0 samples 2 a second")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config, geometry = VideoConfig(frames=chosen.frames), Geometry(patch=14, merge=2, temporal_patch=2)
    print("| clip | frames | size (h x w) | wall ms | CPU ms |\n|---|---|---|---|---|")
    for path in chosen.files:
        taken = []
        for _ in range(chosen.runs):
            wall, cpu = time.perf_counter(), time.process_time()
            info = probe(path)
            plan = plan_frames(info, config, geometry)
            decode(info, plan)
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall_s, cpu_s = min(taken)
        name = path.rsplit("/", 1)[-1]
        print(f"| {name} | {len(plan.times_s)} | {plan.height_px}x{plan.width_px} | {wall_s * 1e3:.0f} | {cpu_s * 1e3:.0f} |")


if __name__ == "__main__":
    main()
