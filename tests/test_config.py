"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videochat_r1 import checking
from videochat_r1.commands.resuming import _is_written
from videochat_r1.config import Recipe, line_of, read_recipe, recipe_toml
from videochat_r1.errors import UsageError
from videochat_r1.grpo.recipe import compare, described
from videochat_r1.small import SMALL_MODEL
from videochat_r1.spelling import edits, near

RECIPE = """# a recipe
[policy]
path = "Qwen/Qwen2.5-VL-7B-Instruct"

[[data]]
name = "charades_sta"
annotations = "x.json"
"""
FIELDS = [path for path, _ in checking.fields_below(Recipe)]


def recipe_in(folder, extra=""):
    path = folder / "recipe.toml"
    path.write_text(RECIPE + extra)
    return path


def refusal(path, overrides=()):
    with pytest.raises(UsageError) as fault:
        read_recipe(path, overrides)
    assert len(str(fault.value).splitlines()) <= 2
    return fault.value


def test_a_recipe_gives_its_sections_and_comes_back_from_its_toml(tmp_path):
    extra = '[data.on_defect]\nspan_past_end = "drop"\n[[test]]\nname = "jsonl"\nannotations = "t.jsonl"\n'
    extra += "[grpo]\ngroup_size = 16\n[train]\nlr = 1\n"
    recipe = read_recipe(recipe_in(tmp_path, extra))
    assert (recipe.grpo.group_size, recipe.train.lr, recipe.data[0].on_defect) == (16, 1.0, {"span_past_end": "drop"})
    assert recipe.data[0].annotations == str(tmp_path / "x.json")  # relative to the recipe's folder
    assert (recipe.data[0].split, recipe.test[0].split) == ("train", "test")
    assert recipe.policy.path == "Qwen/Qwen2.5-VL-7B-Instruct"  # a name stays a name
    copy = tmp_path / "elsewhere" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(recipe_toml(recipe))
    assert read_recipe(copy) == recipe
    assert set(tomllib.loads(recipe_toml(recipe))) == set(Recipe.model_fields)


def test_a_recipe_written_to_move_with_its_folder_names_what_moves_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = {"annotations": "run/world/train.jsonl", "videos": str(tmp_path / "run" / "world")}
    data = [{"name": "jsonl", **inside}, {"name": "jsonl", "annotations": "run-2/x.jsonl", "videos": "/films", "subtitles": ""}]
    recipe = Recipe.model_validate({"policy": {"path": "Qwen/x"}, "data": data, "test": [{"name": "jsonl", **inside}]})
    written = tomllib.loads(recipe_toml(recipe, tmp_path / "run" / "sft", moved_with=Path("run")))
    assert [one["annotations"] for one in (*written["data"], *written["test"])] == [
        "../world/train.jsonl",
        "run-2/x.jsonl",
        "../world/train.jsonl",
    ]
    assert [one["videos"] for one in written["data"]] == ["../world", "/films"]
    assert written["policy"]["path"] == "Qwen/x" and written["data"][1]["subtitles"] == ""


def test_the_shipped_model_goes_by_its_name(tmp_path):
    """An older run's recipe holds the path of this machine; a written one says small, and both are the same recipe."""
    older = tmp_path / "older.toml"
    older.write_text(RECIPE.replace("Qwen/Qwen2.5-VL-7B-Instruct", str(SMALL_MODEL)))
    recipe = read_recipe(older)
    assert tomllib.loads(recipe_toml(recipe))["policy"]["path"] == "small" and str(SMALL_MODEL) not in recipe_toml(recipe)
    newer = tmp_path / "newer.toml"
    newer.write_text(recipe_toml(recipe))
    assert read_recipe(newer) == recipe and read_recipe(newer).policy.path == str(SMALL_MODEL)
    assert compare(described(recipe.sections()), read_recipe(newer).sections()) == []
    assert _is_written(older, read_recipe(newer)) and not _is_written(older, read_recipe(newer, [("--train.steps", "7")]))
    assert not _is_written(tmp_path / "none.toml", recipe)


def test_a_folder_beside_the_recipe_is_the_model(tmp_path):
    (tmp_path / "model").mkdir()
    assert read_recipe(recipe_in(tmp_path), [("--policy.path", "./model")]).policy.path.endswith("model")
    path = recipe_in(tmp_path)
    path.write_text(RECIPE.replace("Qwen/Qwen2.5-VL-7B-Instruct", "model"))
    assert read_recipe(path).policy.path == str(tmp_path / "model")


@pytest.mark.parametrize(
    "extra, what, mend",
    [
        ("[grpo]\ngruop_size = 3", "recipe.toml:9: grpo.gruop_size: there is no such field", "grpo.group_size"),
        (
            '[grpo]\ngroup_size = "16"',
            'recipe.toml:9: grpo.group_size must be a whole number, at most 4096, not "16"',
            "completions of each prompt",
        ),
        ("[grpo]\ngroup_size = 1", "recipe.toml:9: grpo.group_size: a group needs 2", ""),
        ("[grpo]\ngroup_size = 2.0", "recipe.toml:9: grpo.group_size must be a whole number", ""),
        ("[grpo]\nkl_weight = -1.0", "kl_weight must be a number, at least 0.0, not -1.0", "KL"),
        ("[grpo]\ngroup_size = 100_000", "recipe.toml:9: grpo.group_size must be a whole number, at most 4096, not 100000", "completions"),
        ("[train]\nseed = 99999999999999999999", "train.seed must be a whole number, at least 0, at most", ""),
        ("[train]\nsteps = 10_000_000_000", "train.steps must be a whole number, at least 0, at most", ""),
        ("[train]\nlr = 1e300", "train.lr must be a number, above 0.0, at most 10.0", ""),
        ("[rollout]\nmax_tokens = 50_000_000", "rollout.max_tokens must be a whole number, at least 1, at most", "one completion"),
        ("[rollout]\ntemperature = 1e300", "rollout.temperature must be a number, at least 0.0, at most 100.0", ""),
        ("[video]\nmax_frames = 50_000_000", "video.max_frames must be a whole number, at least 1, at most 1000000", "frames of a clip"),
        ("[video]\nprefetch_threads = 100_000", "video.prefetch_threads must be a whole number, at least 1, at most 256", ""),
        ("weight = 1e300", "recipe.toml:8: data.0.weight must be a number, above 0.0, at most 1000.0", ""),
        ("[train]\nlr = inf", "train.lr cannot be Infinity", "learning rate"),
        ("[train]\nlr = nan", "train.lr cannot be NaN", ""),
        ("[train]\nlr = 1979-05-27", "train.lr cannot be", ""),
        ("[asking]\nthinking = 1", "asking.thinking must be true or false, not 1", ""),
        ('[asking]\norder = "txt_first"', 'must be one of "text_first", "video_first", not "txt_first"', "text_first"),
        ("[grpo]\nlr = 1.0", "grpo.lr: there is no such field", "train.lr"),
        ("[triain]\nsteps = 3", "recipe.toml:8: triain: there is no such field", "train"),
        ("[train]\nlr = 1.0\nlr = 2.0\n[grpo]", "recipe.toml:10: lr stands there for the second time", "TOML"),
        ("[train]\nlr = 1.0\nlr = 2.0", "recipe.toml:10: lr stands there for the second time", "TOML"),
        ("[asking.rewards]\ntracking = 'giou'", "recipe.toml:9: asking.rewards.tracking: the task has no reward 'giou'", "box_giou"),
        ("[asking.rewards]\ntrackin = 'box_giou'", "recipe.toml:9: asking.rewards.trackin: no task is named 'trackin'", "'tracking'"),
        ("[train]\norder = 'easy_first'", "train.order = easy_first needs data.0.difficulty", ""),
        ("[train]\nsteps = 3\nwarmup = 5", "recipe.toml:8: train: warmup", ""),
        ("[train]\nbetas = [0.9]", "train.betas.1 is missing", ""),
        ("[train]\nbetas = [0.9, 1.0]", "recipe.toml:9: train.betas: AdamW's decays", ""),
        ("weihgt = 2.0", "recipe.toml:8: data.0.weihgt: there is no such field", "data.0.weight"),
        ('[data.on_defect]\nspan_past_end = "swap"', "span_past_end can be", ""),
        ('[[data]]\nname = "charades"\nannotations = "y"', "recipe.toml:9: data.1.name: nothing is named 'charades'", "charades_sta"),
        ('[[data]]\nannotations = "y"', "recipe.toml:8: data.1.name is missing", ""),
        ('task = "tracing"', "recipe.toml:8: data.0.task: nothing is named 'tracing'", "tracking"),
        ('task = "mine.py"', "mine.py", "Python file"),
        ('[rollout]\nengine = "natve"', "recipe.toml:9: rollout.engine: nothing is named 'natve'", "native"),
    ],
)
def test_a_wrong_recipe_is_refused_by_line_field_and_mend(tmp_path, extra, what, mend):
    fault = refusal(recipe_in(tmp_path, extra + "\n"))
    assert what in fault.what and mend in fault.mend, str(fault)


@pytest.mark.parametrize("text", ["", "policy = 3", "[policy]\npath = ''", "[policy]\npath='x'\n", "\x00", "[[policy]]"], ids=repr)
def test_what_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    refusal(path)


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.toml").what
    assert "cannot be read" in refusal(tmp_path).what
    assert "cannot be read" in refusal("\0").what
    assert "name is empty" in refusal("").what


def test_a_byte_order_mark_is_read_over_and_a_field_given_twice_is_named(tmp_path):
    recipe = '[policy]\npath = "small"\n[[data]]\nname = "jsonl"\nannotations = "a.jsonl"\n'
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf" + recipe.encode())
    assert read_recipe(tmp_path / "notepad.toml").data[0].name == "jsonl"
    (tmp_path / "twice.toml").write_text(recipe + 'name = "got10k"\n')
    assert "twice.toml:6: name stands there for the second time" in refusal(tmp_path / "twice.toml").what
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    assert "UTF-8" in refusal(tmp_path / "latin.toml").what


def test_options_change_fields_of_every_kind(tmp_path):
    options = {
        "--grpo.group-size": "16",
        "--data.0.weight": "2",
        "--asking.thinking": None,
        "--train.betas": "0.9,0.99",
        "--train.lr": "1e-5",
        "--train.plateau-gain": "-.5",
        "--policy.lora-targets": "q_proj,v_proj",
        "--data.0.on-defect.span_past_end": "drop",
        "--video.on-unreadable": "stop",
    }
    recipe = read_recipe(recipe_in(tmp_path), options.items())
    assert (recipe.grpo.group_size, recipe.data[0].weight, recipe.asking.thinking, recipe.train.betas) == (16, 2.0, True, (0.9, 0.99))
    assert (recipe.train.lr, recipe.train.plateau_gain, recipe.policy.lora_targets) == (1e-5, -0.5, ("q_proj", "v_proj"))
    assert (recipe.data[0].on_defect, recipe.video.on_unreadable) == ({"span_past_end": "drop"}, "stop")
    assert not read_recipe(recipe_in(tmp_path), [("--asking.thinking", "false")]).asking.thinking


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--grpo.gruop-size", "3", "--grpo.gruop-size: "),
        ("--grpo.group-size", "three", "must be a whole number"),
        ("--grpo.group-size", "true", "must be a whole number"),
        ("--grpo.group-size", None, "needs a value"),
        ("--asking.thinking", "perhaps", "true or false"),
        ("--data.3.weight", "2", "the recipe has 1 of data"),
        ("--test.0.weight", "2", "the recipe has 0 of test"),
        ("--data.weight", "2", "--data.weight"),
        ("--grpo", "2", "--grpo"),
        ("--policy.path", "", "path is missing"),
    ],
)
def test_a_wrong_option_is_refused_by_its_own_name(tmp_path, option, value, said):
    assert said in str(refusal(recipe_in(tmp_path), [(option, value)]))


def test_paths_given_as_options_are_relative_to_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recipe = read_recipe(recipe_in(tmp_path), [("--data.0.annotations", "mine.json")])
    assert recipe.data[0].annotations == str(tmp_path / "here" / "mine.json")


def edited(draw, word):
    """The word with one slip: a letter left out, put in, changed or swapped with the next."""
    letters = st.sampled_from("abcdefghijklmnopqrstuvwxyz_")
    place = draw(st.integers(0, len(word) - 1))
    kind = draw(st.sampled_from(["out", "in", "other", "swap"]))
    if kind == "out" and len(word) > 1:
        return word[:place] + word[place + 1 :]
    if kind == "in":
        return word[:place] + draw(letters) + word[place:]
    if kind == "swap" and place + 1 < len(word):
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[:place] + draw(letters) + word[place + 1 :]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_field_is_suggested_for_a_slip_in_its_name(tmp_path_factory, data):
    path = data.draw(st.sampled_from(FIELDS))
    section, name = path[:-1], path[-1]
    beside = [own[-1] for own in FIELDS if own[:-1] == section]
    wrong = edited(data.draw, name)
    if wrong in beside:
        return
    values = {"policy": {"path": "a/b"}, "data": [{"name": "jsonl", "annotations": "x"}]}
    if section[:1] == ("test",):
        values["test"] = [{"name": "jsonl", "annotations": "x"}]
    here = values
    for part in section:
        here = here.setdefault(part, {}) if isinstance(here, dict) else here[part]
    here[wrong] = 1
    with pytest.raises(UsageError) as fault:
        checking.checked(Recipe, values)
    suggested = fault.value.mend.removeprefix("Did you mean ").removesuffix("?").split(" or ")
    assert checking.dotted(path) in suggested and len(suggested) <= 3, (wrong, fault.value.mend)


def test_every_field_has_a_description_and_an_expected_value_in_words():
    for path, field in checking.fields_below(Recipe):
        assert field.description, path
        assert checking.expected(field) and "None" not in checking.expected(field), path


@pytest.mark.parametrize(
    "first, second, count", [("kitten", "sitting", 3), ("lr", "rl", 1), ("", "ab", 2), ("abc", "abc", 0), ("fps", "fp", 1)]
)
def test_edits_are_counted(first, second, count):
    assert edits(first, second) == edits(second, first) == count


def test_nothing_is_suggested_for_a_word_like_no_other():
    assert near("zzzzzzzz", ["group_size", "lr"]) == []


def test_lines_are_found_in_every_form_of_toml():
    text = 'a.b = 1\n[grpo]\n"group_size" = 2\n[[data]]\nname = "x"\n[[data]]\nname = "y"\n'
    text += '[data.on_defect]\ncode = "drop"\n[train]\nbetas = [\n1,\n2]\n'
    found = {("a", "b"): 1, ("grpo", "group_size"): 3, ("grpo", "kl_weight"): 2, ("data", 0, "name"): 5, ("data", 1, "name"): 7}
    found |= {("data", 1, "on_defect", "code"): 9, ("data", 1, "weight"): 6, ("train", "betas", 1): 11, ("video", "fps"): 0}
    assert {path: line_of(text, path) for path in found} == found


def test_reading_a_recipe_loads_nothing_heavy(tmp_path):
    heavy = ("torch", "transformers", "numpy", "scipy", "matplotlib", "av", "rich")
    code = (
        "import sys; from videochat_r1.config import read_recipe; read_recipe(sys.argv[1]);"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, recipe_in(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
