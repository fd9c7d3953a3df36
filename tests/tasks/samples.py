"""One sound sample of each task, and every way of asking."""

from itertools import product

from videochat_r1.tasks.base import Asking, Task
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Answer, Completion, Sample

GOT_BOXES = (
    (0.49, 0.585, 0.677, 0.867),
    (0.491, 0.583, 0.678, 0.828),
    (0.501, 0.489, 0.598, 0.729),
    (0.1, 0.2, 0.3, 0.4),
    (0.0, 0.0, 1.0, 1.0),
    (0.125, 0.25, 0.5, 0.75),
    (0.7, 0.1, 0.9, 0.2),
    (0.333, 0.333, 0.667, 0.667),
)

SAMPLES = {
    sample.task: sample
    for sample in (
        Sample(
            id="AO8RW/0",
            task="temporal_grounding",
            video="AO8RW.mp4",
            question="a person is putting a book on a shelf.",
            duration_s=33.75,
            truth=Answer(spans=((10.0, 20.0),)),
        ),
        Sample(
            id="4882821564_1",
            task="grounded_qa",
            video="1104/4882821564.mp4",
            question="why did the boy pick up one present from the group of them and move to the sofa",
            options=(
                "(A) share with the girl",
                "(B) approach lady sitting there",
                "(C) unwrap it",
                "(D) playing with toy train",
                "(E) gesture something",
            ),
            duration_s=90.0,
            truth=Answer(choice="C", spans=((13.8, 29.8), (40.0, 44.25))),
        ),
        Sample(
            id="4882821564_2",
            task="video_qa",
            video="1104/4882821564.mp4",
            question="what is the boy holding",
            options=("(A) a present", "(B) a train", "(C) a book", "(D) a cup", "(E) nothing"),
            truth=Answer(choice="C"),
        ),
        Sample(
            id="GOT-10k_Val_000010",
            task="tracking",
            video="GOT-10k_Val_000010",
            question="sloth",
            truth=Answer(boxes=GOT_BOXES, times_s=(0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.25)),
        ),
        Sample(
            id="1378",
            task="quality",
            video="1378.mp4",
            question="How about the quality of the video from an aesthetic and technical point of view? "
            "Choice one answer from ['low quality', 'high quality'].",
            truth=Answer(label="low quality"),
        ),
        Sample(
            id="scene-1",
            task="description",
            video="scene-1.mp4",
            question="",
            truth=Answer(events=("a red circle appears", "the red circle moves left")),
        ),
    )
}
TASKS: dict[str, Task] = {name: load_task(name) for name in SAMPLES}
WAYS = ({"reading": "strict"}, {"reading": "released"}, {"reading": "released_evaluation"}, {"prompts": "r1_5"})
ASKINGS = [Asking(thinking=thinking, **way) for thinking, way in product((False, True), WAYS)]


def said(text: str) -> Completion:
    """A completion with that text and no tokens: reading looks at nothing else."""
    return Completion(ids_T=None, logprobs_T=None, text=text, stop="end")  # type: ignore[arg-type]
