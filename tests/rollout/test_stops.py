"""Texts that stop a completion."""

import pytest
import torch
from pydantic import ValidationError
from tests.rollout.tape import tape_capture
from tests.rollout.test_native import asked, ids, sharpened
from tests.tiny import tiny_tokenizer

from videochat_r1.rollout._stops import StopTexts
from videochat_r1.rollout.base import Sampling
from videochat_r1.rollout.native import NativeEngine


def test_a_text_is_found_at_the_same_token_however_many_come_in_at_once():
    tokenizer = tiny_tokenizer()
    written = ["Thought é <answer>12.5 to 20.0</answer> and more", "nothing here", "</answer>", "é" * 30]
    ids = [tokenizer.encode(text) for text in written]
    longest = max(map(len, ids))
    ids_AT = torch.tensor([each + [0] * (longest - len(each)) for each in ids])
    for every in (1, 3, longest):
        stops = StopTexts(("</answer>", "éé"), tokenizer)
        for seen in [*range(every, longest, every), longest]:
            stops.look(ids_AT, [min(seen, len(each)) for each in ids])
        assert set(stops.found) == {0, 2, 3}
        for index, cut in stops.found.items():
            text, before = (tokenizer.decode(ids[index][:end]) for end in (cut, cut - 1))
            assert any(stop in text and stop not in before for stop in stops.texts), (index, text)


@pytest.mark.parametrize("capture", [None, tape_capture], ids=["plain steps", "replayed steps"])
def test_a_completion_ends_with_the_text_that_stops_it(capture):
    policy = sharpened("qwen3_vl")
    prompts, seeds = asked(policy), [1, 2, 3]
    free = NativeEngine(policy).complete(prompts, per_prompt=4, sampling=Sampling(max_tokens=40), seeds=seeds)
    flat = [each for group in free for each in group]
    stop = next(each.text[6:8] for each in flat if len(each.text) > 12 and each.text.isprintable() and "\ufffd" not in each.text[6:8])
    sampling = Sampling(max_tokens=40, stop=(stop,))
    held = NativeEngine(policy, capture=capture).complete(prompts, per_prompt=4, sampling=sampling, seeds=seeds)
    stopped = 0
    for got, whole in zip((each for group in held for each in group), flat, strict=True):
        assert got.ids_T.tolist() == whole.ids_T.tolist()[: len(got)]
        if stop in whole.text:
            stopped += 1
            before = policy.tokenizer.decode(got.ids_T[:-1].tolist(), skip_special_tokens=True)
            assert got.stop == "text" and stop in got.text and stop not in before
        else:
            assert ids([[got]]) == ids([[whole]]) and got.stop == whole.stop
        torch.testing.assert_close(got.logprobs_T, whole.logprobs_T[: len(got)], atol=1e-5, rtol=0)
    assert stopped


def test_an_empty_text_is_refused():
    with pytest.raises(ValidationError, match="empty"):
        Sampling(stop=("",))
