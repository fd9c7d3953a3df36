import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small.parts import VOCABULARY, small_tokenizer

from videochat_r1.small.tokenizer import SPECIALS


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_comes_back_as_it_was(text):
    tokenizer = small_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), clean_up_tokenization_spaces=False) == text or any(
        special in text for special in SPECIALS
    )


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=8), st.floats(0, 1), st.text(st.characters(codec="utf-8"), max_size=8))
def test_numbers_within_text_come_back(before, number, after):
    text = f"{before}[{number:.2f}, {number:.3f}]{after}"
    tokenizer = small_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_decimal_is_one_token():
    tokenizer = small_tokenizer()
    for k in range(101):
        text = f"{k / 100:.2f}"
        assert tokenizer.tokenize(f"{text}, {text}") == [text, ",", f"Ġ{text}"]
    assert tokenizer.tokenize("[0.25") == ["[", "0.25"]


def test_special_ids_are_the_last_ones_and_one_token_each():
    tokenizer = small_tokenizer()
    size = len(tokenizer)
    assert 256 + len(SPECIALS) < size <= VOCABULARY
    for index, special in enumerate(SPECIALS):
        assert tokenizer.encode(f"a{special}b", add_special_tokens=False)[1:-1] == [size - len(SPECIALS) + index]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("order", [0, 1])
def test_the_chat_template_writes_qwens_turns(order):
    parts = [{"type": "text", "text": "Who?"}, {"type": "video"}][:: 1 - 2 * order]
    written = small_tokenizer().apply_chat_template([{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True)
    inner = ["Who?<|video_pad|>", "<|video_pad|>Who?"][order]
    assert written == f"<|im_start|>user\n{inner}<|im_end|>\n<|im_start|>assistant\n"
