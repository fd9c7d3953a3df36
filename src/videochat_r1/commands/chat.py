"""videochat-r1 chat: a question about a video, the answer, and the seconds it rests on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from videochat_r1.chat.config import CluesConfig
from videochat_r1.commands.display import print_json, say
from videochat_r1.commands.options import Command, Given, argument, option, seed_option
from videochat_r1.commands.policies import Greedy, PolicyOptions
from videochat_r1.errors import DataError, EnvironmentFault, UsageError
from videochat_r1.section import refused

if TYPE_CHECKING:
    from videochat_r1.chat.talk import Talk


class TwoPass(CluesConfig):
    """Thinking with clues, in two passes unless another way is given."""

    clues: Literal["off", "two_pass", "rounds"] = refused("two_pass", "look once, twice (clues first, then the answer), or --rounds times")


class Chat(PolicyOptions):
    """Ask a policy about a video. It looks once for the seconds that matter and again, closely, at those; the answer comes with its clues.
    Without QUESTION, questions are read from the terminal, a line each; what was seen of the video is kept between them."""

    video_file: str = argument("a video file, or a folder of numbered pictures", "VIDEO")
    question: str = argument("the question; left out, questions are read from the terminal", "QUESTION", default="")
    options: tuple[str, ...] = option((), "the answers to choose from", "A B C ...", many=True)
    when: bool = option(False, "QUESTION names an event: answer when it happens")
    json_: bool = option(False, "print one JSON object")
    save: str = option("", "write every frame that was looked at as a PNG named by its second, and a sheet a look", "DIR")
    looks: TwoPass = option(TwoPass, "thinking with clues")
    rollout: Greedy = option(Greedy, "how answers are drawn")
    seed: int = seed_option("of the draws")


def run(options: Chat, out: TextIO, fields: Given) -> int:
    asks = not options.question.strip()
    if asks and (options.json_ or not sys.stdin.isatty()):
        raise UsageError("There is no question.", "Give it after the video, in quotes; from a terminal it may be left out.")
    if len(options.options) == 1 or any(not text.strip() for text in options.options):
        raise UsageError("--options needs two answers or more, none of them blank.", 'Such as: --options "to the left" "to the right".')
    if options.when and options.options:
        raise UsageError("--when asks for a span, --options for a choice.", "Give one of them.")
    if options.save:
        _require_writable(Path(options.save))
    from videochat_r1.chat.talk import Question, as_json, as_text  # loads torch: what is wrong with the options is said before

    talk = _talk(options)
    if not asks:
        thought = talk.ask(Question(options.question, tuple(options.options), when=options.when))
        _save(options, thought, "")
        if options.json_:
            print_json(as_json(thought), out)
        else:
            out.write(as_text(thought, thinking=options.asking.thinking) + "\n")
        return 0
    for number, line in enumerate(_lines(options.video_file), start=1):
        thought = talk.ask(Question.read(line, when=options.when, options=tuple(options.options)))
        _save(options, thought, f"question_{number}")
        out.write(as_text(thought, thinking=options.asking.thinking) + "\n")
        out.flush()
    return 0


def _talk(options: Chat) -> Talk:
    """The policy and what it may look at, told to be asked as its run or release says; the video is tried before the weights are read."""
    from videochat_r1.chat.talk import Talk
    from videochat_r1.commands.quiet import quiet_libraries
    from videochat_r1.evaluation.manner import settled
    from videochat_r1.policy.config import PolicyConfig
    from videochat_r1.policy.model import load_policy
    from videochat_r1.rollout.base import make_engine
    from videochat_r1.runs import require_room
    from videochat_r1.video.probe import probe

    path, sections = settled(options.policy, {"video": options.video, "asking": options.asking, "rollout": options.rollout}, say)
    options = options.model_copy(update=dict(sections))
    video, asking, rollout = options.video, options.asking, options.rollout
    info = probe(options.video_file, picture_fps=video.picture_fps)
    if info.truncated and video.on_truncated != "keep":
        what = f"{options.video_file} ends at {info.duration_s:.1f} s of {info.declared_s:.1f} s."
        raise DataError(what, "Use what is there with --video.on-truncated keep.")
    quiet_libraries()
    policy = load_policy(PolicyConfig(path=path, device=options.device, dtype=options.dtype), keep_reference=False)
    require_room(rollout.max_tokens, policy.max_positions)
    engine = make_engine(rollout.engine, policy)
    video = video.model_copy(update={"on_unreadable": "stop"})
    return Talk(policy, engine, options.video_file, video, asking, rollout, options.looks, seed=options.seed)


def _lines(video: str) -> Iterator[str]:
    """Questions from the terminal until an empty line or its end."""
    say(f"Ask about {video}. Choices stand after bars: which way does it go | left | right. An empty line ends.")
    while True:
        print("? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _save(options: Chat, thought: Any, part: str) -> None:
    if options.save:
        from videochat_r1.chat.pictures import save_looks

        sheets = save_looks(Path(options.save) / part, thought)
        say(f"Written: {', '.join(map(str, sheets))}, and the frames beside them.")


def _require_writable(folder: Path) -> None:
    """Before minutes of answers: raises EnvironmentFault where pictures could not be kept."""
    from videochat_r1.evaluation.answers_file import write_jsonl

    trial = folder / ".trial"
    try:
        write_jsonl(trial, [])
    except EnvironmentFault as fault:
        raise EnvironmentFault(fault.what, "Choose another folder with --save.") from None
    trial.unlink()


COMMAND = Command(Chat, run)
