"""Choices and labels: which letter or label an answer names."""

import pytest

from videochat_r1.rewards.choices import check_choice, is_asked_letter, lettered, read_choice, read_label

OPTIONS = ("(A) share with the girl", "(B) approach her", "(C) unwrap it", "(D) playing with toy train", "(E) gesture something")


@pytest.mark.parametrize("text", ["C", "(C)", "C.", " (C). ", "C"])
def test_the_letter_alone_is_what_is_asked_for(text):
    assert read_choice(text, OPTIONS) == ("C", "")
    assert is_asked_letter(text, OPTIONS) is (text.strip() in ("C", "(C)", "C.", "(C)."))


@pytest.mark.parametrize(
    "text",
    ["c", "(c)", "C)", "C:", "[C]", "**C**", "'C'"]
    + ["C. unwrap it", "(C) unwrap it", "C unwrap it", "unwrap it", "Unwrap it!", "(C)unwrap it"]
    + ["The Answer is C", "The answer is C.", "Answer: C", "answer is (C) unwrap it"]
    + ["Option C", "The correct option is: (C)", "I choose (C)."],
)
def test_other_ways_to_say_c_are_read_but_not_what_is_asked_for(text):
    assert read_choice(text, OPTIONS) == ("C", "")
    assert not is_asked_letter(text, OPTIONS)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "no_choice"),
        ("Excited", "no_choice"),
        ("A man unwraps it", "no_choice"),
        ("the answer is a present", "no_choice"),
        ("42", "no_choice"),
        ("A or B", "several_choices"),
        ("A, B, C, D, E", "several_choices"),
        ("(A) (B) (C)", "several_choices"),
        ("Option A or B", "several_choices"),
        ("The answer is A. No, the answer is B.", "several_choices"),
        ("F", "not_offered"),
        ("(Z)", "not_offered"),
        ("The answer is G", "not_offered"),
        ("\uff23", "no_choice"),
        ("C" * 1001, "too_long"),
    ],
)
def test_what_names_no_option(text, reason):
    assert read_choice(text, OPTIONS) == (None, reason)
    assert not is_asked_letter(text, OPTIONS)


def test_two_options_with_the_same_text_need_a_letter():
    assert read_choice("red", ("red", "blue", "red")) == (None, "no_choice")
    assert read_choice("(C) red", ("red", "blue", "red")) == ("C", "")


def test_any_letter_may_be_named_where_the_options_are_not_known():
    assert read_choice("Q", ()) == ("Q", "")


def test_options_get_letters_where_the_data_gives_none():
    assert lettered(OPTIONS) == list(OPTIONS)
    assert lettered(("A. red", "B. blue")) == ["A. red", "B. blue"]
    assert lettered(("red", "blue")) == ["(A) red", "(B) blue"]
    assert lettered(("(B) red", "(A) blue")) == ["(A) (B) red", "(B) (A) blue"]
    assert lettered(()) == []


@pytest.mark.parametrize("choice", [None, "", "F", "c", "(C)", "AB", "AB C"])
def test_a_truth_at_fault_raises(choice):
    with pytest.raises(ValueError, match="choice"):
        check_choice(choice, OPTIONS)


def test_more_options_than_letters_raise():
    with pytest.raises(ValueError, match="27 options"):
        check_choice("A", ("x",) * 27)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("low quality", ("low quality", "")),
        (" Low Quality. ", ("low quality", "")),
        ("'low_quality'", ("low quality", "")),
        ("low", (None, "not_offered")),
        ("not low quality", (None, "not_offered")),
        ("low quality or high quality", (None, "not_offered")),
        ("", (None, "no_label")),
        ("...", (None, "no_label")),
        ("x" * 1001, (None, "too_long")),
    ],
)
def test_read_label(text, expected):
    assert read_label(text, ("low quality", "high quality")) == expected


def test_any_words_are_a_label_where_none_are_offered():
    assert read_label("Very Good!", ()) == ("very good", "")
