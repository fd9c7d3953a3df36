"""videochat-r1 data check: what is wrong with a data set, and whether its prompts can be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TextIO

from videochat_r1.commands.display import print_json, say
from videochat_r1.commands.options import Command, Given, option
from videochat_r1.commands.sources import SourceOptions
from videochat_r1.counting import counted
from videochat_r1.errors import DataError, EnvironmentFault
from videochat_r1.tasks.base import Asking
from videochat_r1.video.sampling import VideoConfig

if TYPE_CHECKING:
    from videochat_r1.commands.prompt_walk import PromptCounts

DEFECTS = DataError.exit_code


class Check(SourceOptions):
    """List every defect of a data set with a code and a count. Ends with 0 where there is none, with 3 where there are. With --prompts
    every prompt is written too, with its real tokens; a video that is not there is planned from its annotated duration. Videos are looked
    for, not decoded: a damaged one shows in training and evaluation, which set it aside with a reason."""

    train: str = option("", "also tell what this training file of the same data set shares with it", "FILE")
    prompts: bool = option(False, "write every prompt and count its tokens")
    policy: str = option("Qwen/Qwen2.5-VL-7B-Instruct", "--prompts: whose; a folder, a name, or small", "DIR_OR_NAME")
    tokenizer: str = option("", "--prompts: a folder with the tokenizer.json of a released model", "DIR")
    thinking: bool = option(False, "--prompts: ask for a <think> block; a run's recipe says this, order and video where nothing is given")
    order: Literal["text_first", "video_first"] = option("text_first", "--prompts: what stands first in the message")
    video: VideoConfig = option(VideoConfig, "how clips are planned")
    json_: bool = option(False, "print one JSON object")


def run(options: Check, out: TextIO, fields: Given) -> int:
    from videochat_r1.datasets.base.overlap import overlap
    from videochat_r1.datasets.base.reading import check, read_samples

    source = options.source()
    report = check(source)
    found: dict[str, Any] = report.as_dict()
    lines = report.lines()
    if not report.clean and options.split == "test":
        lines.insert(1, "  in brackets: what is done with it in a test set; --split train says what training does")
    is_clean = report.clean
    if options.train:
        train = read_samples(options.training_source(options.train)).samples
        shared = overlap(train, read_samples(_lenient(source)).samples)
        found["overlap"] = {"ids": len(shared.ids), "videos": len(shared.videos)}
        lines.append(f"  shared with {options.train}: {counted(len(shared.ids), 'sample id')}, {counted(len(shared.videos), 'video')}")
        is_clean = is_clean and not shared
    if options.prompts:
        counts = _walk(options, read_samples(_lenient(source)).samples)
        found["prompts"] = {key: value for key, value in vars(counts).items() if key != "stopped"} | {"refused": counts.refused[:100]}
        lines.append(f"  {counts.line()}")
        is_clean = is_clean and not counts.refused
    if options.json_:
        print_json(found, out)
    else:
        out.write("\n".join(lines) + "\n")
    return 0 if is_clean else DEFECTS


def _lenient(source: Any) -> Any:
    """The same data, with nothing that stops the reading."""
    from videochat_r1.datasets.base.defects import KINDS

    actions = {code: action if action != "refuse" else "drop" for code, action in source.actions().items()}
    update = {"on_defect": {code: actions[code] for code in KINDS}, "missing_limit": 1.0, "on_missing": "quarantine"}
    return source.model_copy(update=update)


def _walk(options: Check, samples: Any) -> PromptCounts:
    from videochat_r1.commands.prompt_walk import processing_of, walk
    from videochat_r1.evaluation.manner import manner_of, told, with_manner
    from videochat_r1.rollout.base import RolloutConfig

    manner = manner_of(options.policy)
    asking = Asking(**{name: getattr(options, name) for name in ("thinking", "order") if name in options.model_fields_set})
    if line := told(manner, {"video": options.video, "asking": asking, "rollout": RolloutConfig()}):
        say(line)
    processing = processing_of(manner.path, options.tokenizer)
    if processing is None:
        mend = "Give --tokenizer DIR with its tokenizer.json, or --policy DIR."
        raise EnvironmentFault(f"No tokenizer of {options.policy} is at hand.", mend)
    video = with_manner(options.video, manner.sections.get("video", {}))
    return walk(processing, samples, video, with_manner(asking, manner.sections.get("asking", {})))


COMMAND = Command(Check, run)
