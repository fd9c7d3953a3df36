"""A drawn film and an engine that says what a test wants, for the tests of thinking with clues."""

from __future__ import annotations

from dataclasses import replace

from tests.tiny import tiny_policy
from tests.video.films import write_film

from videochat_r1.chat.sight import Sight
from videochat_r1.policy.prompt import encode_text
from videochat_r1.rollout.base import Sampling
from videochat_r1.types import Answer, Sample
from videochat_r1.video.clips import ClipLoader
from videochat_r1.video.sampling import VideoConfig

LENGTH_S, RATE = 60, 8
VIDEO = VideoConfig(fps=1.0, min_frames=2, max_frames=64, total_pixels=2**20, min_pixels=64, max_pixels=16 * 16)
"""One look at the film: 60 frames of 16 x 16, four tokens a moment of two frames, 120 video tokens."""
GREEDY = Sampling(temperature=0.0, max_tokens=64, batch_prompts=8)


def film(folder, name="film.mp4", seconds=LENGTH_S):
    return str(write_film(folder / name, seconds * RATE, rate=RATE, size=(64, 64)))


def grounding(video, sample_id="film/0", question="it turns"):
    truth = Answer(spans=((20.0, 25.0),))
    return Sample(id=sample_id, task="temporal_grounding", video=video, question=question, truth=truth, duration_s=float(LENGTH_S))


def choice(video, task="video_qa", sample_id="film/1"):
    return Sample(
        id=sample_id,
        task=task,
        video=video,
        question="which way does it go",
        options=("(A) left", "(B) right"),
        truth=Answer(choice="B", spans=((20.0, 25.0),) if task == "grounded_qa" else None),
        duration_s=float(LENGTH_S),
    )


class Says:
    """Answers each sample's looks with its texts in turn; keeps the prompts. confidence: log-probability of each text's tokens."""

    def __init__(self, policy, texts, confidence=()):
        self.policy, self.texts, self.confidence, self.prompts, self.features = policy, texts, confidence, [], []

    def complete(self, prompts, *, per_prompt, sampling, seeds, features=None):
        self.prompts += prompts
        self.features += features
        found = []
        for prompt in prompts:
            turn = sum(one.sample_id == prompt.sample_id for one in self.prompts) - 1
            said = encode_text(self.policy, self.texts[prompt.sample_id][turn])
            sure = self.confidence[turn] if self.confidence else 0.0
            found.append([replace(said, logprobs_T=said.logprobs_T + sure)])
        return found


def sight_of(family="qwen3_vl", video=VIDEO):
    policy = tiny_policy(family, keep_reference=False)
    return Sight(policy, ClipLoader(video, policy.geometry))
