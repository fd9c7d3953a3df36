"""The options that name a policy and how it is asked, the same for every command that asks one."""

from __future__ import annotations

from typing import Literal

from videochat_r1.commands.options import Options, option
from videochat_r1.rollout.base import RolloutConfig
from videochat_r1.section import refused
from videochat_r1.tasks.base import Asking
from videochat_r1.video.sampling import VideoConfig


class Greedy(RolloutConfig):
    """How an answer is drawn: the likeliest token each time, unless a temperature is given."""

    temperature: float = refused(0.0, "0 takes the likeliest token", ge=0.0, le=100.0)


class PolicyOptions(Options):
    """The policy of one command."""

    policy: str = option(..., "a model's, adapter's or run's folder, a name on the hub, or small", "DIR_OR_NAME")
    asking: Asking = option(Asking, "how questions are put and answers are read; a run's recipe says it where nothing is given")
    video: VideoConfig = option(VideoConfig, "how clips are sampled, sized and read; a run's recipe says it where nothing is given")
    device: str = option("auto", "where the model runs: auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", "of the weights; auto is bfloat16 on a GPU and float32 elsewhere")
