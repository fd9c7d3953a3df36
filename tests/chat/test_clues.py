import bisect
from itertools import pairwise

import pytest
import torch
from tests.chat.films import GREEDY, LENGTH_S, VIDEO, Says, choice, film, grounding, sight_of
from tests.tiny import FAMILIES

from videochat_r1.chat.clues import think
from videochat_r1.chat.config import CluesConfig
from videochat_r1.errors import VideoError
from videochat_r1.policy.prompt import render_text
from videochat_r1.rollout.native import NativeEngine
from videochat_r1.tasks.base import Asking
from videochat_r1.tasks.base.loading import load_task
from videochat_r1.types import Answer, Sample
from videochat_r1.video.decode import decode
from videochat_r1.video.sampling import plan_at, plan_frames

TWO = CluesConfig(clues="two_pass")
ASKING = Asking()
A1, A2 = "<answer>20.00 to 25.00</answer>", "<answer>21.00 to 24.00</answer>"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def sight():
    return sight_of()


def thought_about(sight, sample, texts, config=TWO, confidence=(), asking=ASKING):
    engine = Says(sight.policy, {sample.id: texts}, confidence)
    [thought] = think(sight.policy, engine, sight, [(load_task(sample.task), sample)], asking, GREEDY, config)
    return thought, engine


# -- looks ------------------------------------------------------------------------------------------------------------------------------


def test_the_second_look_is_closer_and_both_cost_no_more_than_one(sight, video):
    alone, _ = thought_about(sight, grounding(video), [A1], CluesConfig())
    thought, _ = thought_about(sight, grounding(video), [A1, A2])
    assert len(alone.looks) == 1 and alone.video_tokens == 120
    first, second = thought.looks
    assert thought.video_tokens <= 120 and first.windows == () and len(first.clip.times_s) < 60
    [(start, end)] = second.windows
    assert start <= 18.0 and end >= 27.0  # 20 to 25, widened by the gap of two seconds between the first look's frames
    inside = [second for second in second.clip.times_s if start <= second <= end]
    gaps = [later - earlier for earlier, later in zip(inside, inside[1:], strict=False)]
    assert max(gaps) <= 0.51 and len(inside) > len([s for s in first.clip.times_s if start <= s <= end])
    assert thought.reading.answer.spans == ((21.0, 24.0),) and thought.kept == 1


def test_without_a_change_of_rate_the_frames_grow(sight, video):
    small = VIDEO.model_copy(update={"total_pixels": 60 * 64 // 2, "max_pixels": 32 * 32})  # one look: one token a moment
    seen = sight_of(video=small)
    config = TWO.model_copy(update={"clue_fps": 1.0, "context_share": 0.0})
    thought, _ = thought_about(seen, grounding(video), ["<answer>20.00 to 21.00</answer>", A2], config)
    first, second = (look.clip.frames_NCHW.shape[2:] for look in thought.looks)
    assert second.numel() > first.numel() and thought.video_tokens <= 30


def test_the_frames_are_those_of_the_file_at_their_true_seconds(sight, video):
    thought, _ = thought_about(sight, grounding(video), [A1, A2])
    clip = thought.looks[1].clip
    info = sight.loader.info(video)
    plan = plan_at(info, VIDEO, sight.loader.geometry, clip.times_s, max_tokens=10**6)
    expected = decode(info, plan)
    assert clip.times_s == expected.times_s and torch.equal(clip.frames_NCHW, expected.frames_NCHW)


def test_rounds_ask_for_clues_until_the_last(sight, video):
    texts = ["<answer>A</answer><glue>[(16, 26)]</glue>", "<answer>B</answer><glue>[(20, 25)]</glue>", "<answer>B</answer>"]
    config = CluesConfig(clues="rounds", rounds=3)
    thought, engine = thought_about(sight, choice(video), texts, config)
    assert ["glue" in prompt.text for prompt in engine.prompts] == [True, True, False]
    assert len(thought.looks) == 3 and thought.video_tokens <= 120 and thought.reading.answer.choice == "B"
    assert thought.looks[2].windows[0][0] >= thought.looks[1].windows[0][0] and thought.clues == ((20.0, 25.0),)


@pytest.mark.parametrize(
    "tokens, first_share, clue, looks",
    [(120, 0.5, (20.0, 25.0), 3), (80, 0.75, (20.0, 25.0), 2), (120, 0.5, (5.0, 35.0), 2), (120, 0.9, (10.0, 30.0), 1)],
    ids=["each look has enough", "half of what is left is four frames for five", "a wide clue", "all that is left is too little"],
)
def test_each_look_shows_more_of_its_windows_than_the_last(sight, video, tokens, first_share, clue, looks):
    """An even part of the tokens left may be fewer frames than the look before had there, and the answer that stands would rest on them."""
    config = CluesConfig(clues="rounds", rounds=3, tokens=tokens, first_share=first_share, context_share=0.0)
    texts = [f"<answer>{start} to {end}</answer>" for start, end in (clue, (21.0, 24.0), (21.5, 24.0))]
    thought, _ = thought_about(sight, grounding(video), texts, config)
    assert len(thought.looks) == looks and thought.video_tokens <= tokens and thought.kept == looks - 1
    for last, look in pairwise(thought.looks):
        was, now = (sum(any(a <= s <= b for a, b in look.windows) for s in one.clip.times_s) for one in (last, look))
        assert now > was or look.clip.frames_NCHW.shape[2:].numel() > last.clip.frames_NCHW.shape[2:].numel()
    assert thought.ended == ("" if looks > 1 else "not_closer")


def test_a_later_answer_about_seconds_that_it_was_not_shown_is_not_followed(sight, video):
    config = CluesConfig(clues="rounds", rounds=3, context_share=0.0)
    texts = [A1, "<answer>50.00 to 55.00</answer>", A2]
    thought, _ = thought_about(sight, grounding(video), texts, config)
    _, second, third = thought.looks
    assert second.windows == third.windows == (pytest.approx((18.0, 27.1), abs=0.1),) and thought.kept == 2
    thought, _ = thought_about(sight, grounding(video), texts, config.model_copy(update={"context_share": 0.5}))
    [(start, end)] = thought.looks[2].windows  # frames of the surroundings stood there: the first clue may have been wrong
    assert start <= 50.0 and end >= 55.0


def test_a_grounded_question_is_asked_in_its_own_words_in_both_passes(sight, video):
    text = "<answer>B</answer><glue>[(20, 25)]</glue>"
    thought, engine = thought_about(sight, choice(video, "grounded_qa"), [text, text])
    assert len({prompt.text for prompt in engine.prompts}) == 1 and thought.reading.answer.spans == ((20.0, 25.0),)


@pytest.mark.parametrize("clues", ["two_pass", "rounds"])
def test_asked_seconds_and_labels_are_looked_at_once(sight, video, clues):
    boxes = tuple((0.1, 0.1, 0.5, 0.5) for _ in range(2))
    tracking = Sample(id="t", task="tracking", video=video, question="it", truth=Answer(boxes=boxes, times_s=(0.0, 4.0)))
    thought, _ = thought_about(sight, tracking, ["<answer>[]</answer>"], CluesConfig(clues=clues))
    quality = Sample(id="q", task="quality", video=video, question="How?", truth=Answer(label="low quality"))
    other, _ = thought_about(sight, quality, ["<answer>low quality</answer>"], CluesConfig(clues=clues))
    assert len(thought.looks) == len(other.looks) == 1 and len(thought.looks[0].clip.times_s) == 4


@pytest.mark.parametrize(
    "text, reason",
    [
        ("no idea", "no_clue"),
        ("<answer>25.00 to 20.00</answer>", "invalid_clue"),
        ("<answer>90.00 to 95.00</answer>", "invalid_clue"),
        ("<answer>0.00 to 60.00</answer>", "covers_all"),
    ],
    ids=["none", "reversed", "past the end", "all"],
)
def test_an_answer_without_a_clue_stands_or_is_asked_again_of_the_whole(sight, video, text, reason):
    kept, _ = thought_about(sight, grounding(video), [text])
    assert len(kept.looks) == 1 and kept.ended == reason and kept.video_tokens <= 60
    again, _ = thought_about(sight, grounding(video), [text, A2], TWO.model_copy(update={"without_clue": "again"}))
    assert [look.windows for look in again.looks] == [(), ()] and again.ended == reason and again.video_tokens <= 120
    assert again.reading.answer.spans == ((21.0, 24.0),)


def test_a_video_that_cannot_be_used_is_noted_and_the_others_go_on(sight, video, tmp_path):
    engine = Says(sight.policy, {"film/0": [A1, A2]})
    items = [
        (load_task("temporal_grounding"), grounding(path, name)) for path, name in ((str(tmp_path / "no.mp4"), "x"), (video, "film/0"))
    ]
    missing, thought = think(sight.policy, engine, sight, items, Asking(), GREEDY, TWO)
    assert isinstance(missing, VideoError) and missing.reason == "missing" and len(thought.looks) == 2
    assert sight.loader.quarantine.counts() == {"missing": 1}


# -- which answer stands ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate, texts, sure, kept",
    [
        ("last", [A1, A2], (0.0, -5.0), 1),
        ("last", [A1, "no idea"], (0.0, 0.0), 0),
        ("likelier", [A1, A2], (-1.0, -2.0), 0),
        ("likelier", [A1, A2], (-2.0, -1.0), 1),
        ("agree", [A1, A2], (0.0, -5.0), 1),
        ("agree", [A1, "<answer>50.00 to 55.00</answer>"], (-5.0, 0.0), 0),
        ("agree", [A1, "<answer>25.00 to 20.00</answer>"], (-5.0, 0.0), 0),
    ],
    ids=["last", "an unreadable one never stands", "first", "second", "agrees", "outside its windows", "reversed"],
)
def test_the_gate_of_spans(sight, video, gate, texts, sure, kept):
    thought, _ = thought_about(sight, grounding(video), texts, TWO.model_copy(update={"gate": gate}), sure)
    assert thought.kept == kept


@pytest.mark.parametrize(
    "letters, sure, kept",
    [("ABB", (0.0, -3.0, -4.0), 2), ("AAB", (-3.0, -3.0, 0.0), 1), ("AB", (-1.0, -2.0), 0), ("AB", (-2.0, -1.0), 1)],
    ids=["two of three", "two of three against the last", "the likelier of two", "the likelier is the last"],
)
def test_the_gate_of_choices(sight, video, letters, sure, kept):
    texts = [f"<answer>{letter}</answer><glue>[(20, 25)]</glue>" for letter in letters]
    config = CluesConfig(clues="rounds", rounds=len(letters), gate="agree")
    thought, _ = thought_about(sight, choice(video, "grounded_qa"), texts, config, sure)
    assert thought.kept == kept and thought.reading.answer.choice == letters[kept]


# -- seconds ----------------------------------------------------------------------------------------------------------------------------


def written_seconds(sight, prompt):
    """What the model is told of time: the second before each moment (Qwen3-VL), or each moment's rotary tick (Qwen2.5-VL)."""
    if sight.policy.hf_config.model_type == "qwen3_vl":
        text = sight.policy.tokenizer.decode(prompt.ids_P.tolist())
        return [float(part.split("<")[-1]) for part in text.split(" seconds>")[:-1]]
    is_video_P = prompt.ids_P == sight.policy.hf_config.video_token_id
    start = int(is_video_P.nonzero()[0])
    ticks = prompt.positions_3P[0][is_video_P] - prompt.positions_3P[0][start - 1] - 1
    rate = sight.policy.hf_config.vision_config.tokens_per_second
    return [tick / rate for tick in dict.fromkeys(ticks.tolist())]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_moment_of_every_round_is_told_at_its_own_second(family, video):
    sight = sight_of(family)
    _, engine = thought_about(sight, grounding(video), [A1, A2, A2], CluesConfig(clues="rounds", rounds=3))
    for prompt in engine.prompts:
        times_s, told = prompt.clip.times_s, written_seconds(sight, prompt)
        firsts, lasts = times_s[::2], times_s[1::2]
        if family == "qwen3_vl":
            true = [round((first + last) / 2, 1) for first, last in zip(firsts, lasts, strict=True)]
            assert told == pytest.approx(true, abs=0.051)
        else:
            rate = sight.policy.hf_config.vision_config.tokens_per_second
            assert told == list(dict.fromkeys(int(first * rate + 1e-3) / rate for first in firsts))


def weighted_seconds(window, duration_s, count, weight=1.5):
    """Seconds of `count` frames, the density inside the window `weight` times that outside: how VideoChat-R1.5's released code spreads the
    frames of a later round."""
    start, end = window
    edges, density = [0.0, start, end, duration_s], [1.0, weight, 1.0]
    mass = [0.0]
    for left, right, per_second in zip(edges, edges[1:], density, strict=False):
        mass.append(mass[-1] + (right - left) * per_second)
    found = []
    for number in range(count):
        at = number * mass[-1] / count
        piece = min(bisect.bisect_right(mass, at), 3) - 1
        found.append(edges[piece] + (at - mass[piece]) / density[piece])
    return found


@pytest.mark.parametrize("window, least_s", [((200.0, 210.0), 3.0), ((100.0, 400.0), 38.0)], ids=["a clue of 10 s", "a clue of 300 s"])
def test_the_released_computation_misplaces_moments_by_seconds_and_ours_by_none(window, least_s):
    """A video of 600 s, 512 frames: the released code spreads frames unevenly and tells the model one rate for all of them, so that patch k
    stands at 2 k / rate. We give each patch the second of its own frame."""
    duration_s, count = 600.0, 512
    seconds = weighted_seconds(window, duration_s, count)
    assert sum(window[0] <= second < window[1] for second in seconds) == pytest.approx({10.0: 13, 300.0: 307}[window[1] - window[0]], abs=1)
    released = [2 * patch / (count / duration_s) for patch in range(count // 2)]
    error_s = max(abs(told - true) for told, true in zip(released, seconds[::2], strict=True))
    assert least_s < error_s < least_s + 2.0
    for family in FAMILIES:
        sight = sight_of(family)
        clip = clip_at(seconds)
        told = written_seconds(sight, render_text(sight.policy, "When?", clip, order="video_first", sample_id="long"))
        assert len(told) == count // 2
        if family == "qwen3_vl":
            true = [(first + last) / 2 for first, last in zip(seconds[::2], seconds[1::2], strict=True)]
            assert max(abs(a - b) for a, b in zip(told, true, strict=True)) <= 0.05 + 1e-9  # as the stock processor writes it: to a tenth
        else:
            rate = sight.policy.hf_config.vision_config.tokens_per_second
            assert told == [int(second * rate + 1e-3 * rate) / rate for second in seconds[::2]]  # as the stock model counts: whole ticks


def clip_at(seconds):
    from videochat_r1.types import Clip

    frames = torch.zeros((len(seconds), 3, 8, 8), dtype=torch.uint8)
    return Clip(frames_NCHW=frames, times_s=tuple(seconds), duration_s=600.0, source_size=(8, 8), path="long.mp4")


# -- what is kept -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_several_questions_decode_and_encode_a_moment_once(family, video):
    sight = sight_of(family)
    thought_about(sight, grounding(video), [A1, A2])
    decoded, encoded = sight.counters["frames_decoded"], sight.counters["moments_encoded"]
    passes = sight.policy.counters["vision_passes"]
    assert decoded > 0 and encoded > 0 and passes == 2
    thought_about(sight, grounding(video, "film/2", "it turns again"), [A1, A2])
    assert sight.counters["frames_decoded"] == decoded and sight.counters["moments_encoded"] == encoded
    assert sight.policy.counters["vision_passes"] == passes
    assert sight.counters["frames_reused"] >= decoded and sight.counters["moments_reused"] >= encoded


@pytest.mark.parametrize("family", FAMILIES)
def test_features_put_together_from_moments_are_those_of_the_whole_video(family, video):
    sight = sight_of(family)
    _, engine = thought_about(sight, grounding(video), [A1, A2])
    _, again = thought_about(sight, grounding(video, "film/3"), ["<answer>30.00 to 33.00</answer>", A2])
    for prompt, features in zip([*engine.prompts, *again.prompts], [*engine.features, *again.features], strict=True):
        with torch.no_grad():
            [expected] = sight.policy.vision([prompt])
        torch.testing.assert_close(features.embeds_VD, expected.embeds_VD, rtol=1e-5, atol=2e-6)
        for ours, theirs in zip(features.deepstack_VD, expected.deepstack_VD, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def test_questions_asked_together_are_answered_as_alone(video):
    sight, items = sight_of(), []
    for number in range(3):
        sample = choice(video, "grounded_qa", f"film/{number}") if number == 1 else grounding(video, f"film/{number}", f"it turns {number}")
        items.append((load_task(sample.task), sample))
    config, sampling = TWO.model_copy(update={"without_clue": "again"}), GREEDY.model_copy(update={"max_tokens": 4})
    together = think(sight.policy, NativeEngine(sight.policy), sight, items, Asking(), sampling, config)
    for item, whole in zip(items, together, strict=True):
        seen = sight_of()
        [alone] = think(seen.policy, NativeEngine(seen.policy), seen, [item], Asking(), sampling, config)
        assert [look.completion.text for look in alone.looks] == [look.completion.text for look in whole.looks]


def test_a_store_holds_so_many_bytes(video):
    sight = sight_of()
    small = type(sight)(sight.policy, sight.loader, frame_bytes=10 * 3 * 16 * 16, feature_bytes=0)
    info = small.loader.info(video)
    plan = plan_frames(info, VIDEO, small.loader.geometry)
    expected = decode(info, plan)
    for _ in range(2):
        clip = small.clip(info, plan)
        assert torch.equal(clip.frames_NCHW, expected.frames_NCHW) and clip.times_s == expected.times_s
    assert small.counters["frames_decoded"] == 2 * LENGTH_S - 10 and small._frames.bytes <= 10 * 3 * 16 * 16


def test_a_plan_of_seconds_fits_its_tokens_and_refuses_what_no_plan_could_mean(sight, video):
    info = sight.loader.info(video)
    for tokens in (1, 7, 30, 60, 1000):
        plan = plan_at(info, VIDEO, sight.loader.geometry, (3.0, 3.5, 20.0, 41.25), max_tokens=tokens)
        assert plan.video_tokens <= max(tokens, 2) and plan.times_s == (3.0, 3.5, 20.0, 41.25)
    assert plan.height_px == plan.width_px == 16
    for seconds, reason in (((3.0, 2.0), "bad_times"), ((), "bad_times"), ((1.0, 90.0), "too_short")):
        with pytest.raises(VideoError) as fault:
            plan_at(info, VIDEO, sight.loader.geometry, seconds, max_tokens=30)
        assert fault.value.reason == reason
