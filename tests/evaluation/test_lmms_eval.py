"""The plug-in for lmms-eval, against a stand-in for the two of its modules that it touches: the real one is not installed here."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import types
from types import SimpleNamespace

import pytest
from tests.command_line import TINY_VIDEO, saved_tiny_model

from videochat_r1.errors import DataError, UsageError
from videochat_r1.world.files import write_world

EXTRA = {**TINY_VIDEO, "order": "video_first", "max_new_tokens": 4, "device": "cpu", "batch_size": "3"}


@pytest.fixture
def lmms(monkeypatch):
    """lmms_eval.api.model.lmms and lmms_eval.models.registry_v2.ModelManifest, as far as their interfaces go (0.7.3)."""

    class Base:
        is_simple = True

        def __init__(self):
            self._rank, self._world_size = 0, 1
            self.cache_hook = SimpleNamespace(add_partial=lambda *given: None)
            self.task_dict = {}

    @dataclasses.dataclass(frozen=True)
    class ModelManifest:
        model_id: str
        simple_class_path: str | None = None
        chat_class_path: str | None = None
        aliases: tuple = ()

    modules = {name: types.ModuleType(name) for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model", "lmms_eval.models")}
    modules["lmms_eval.models.registry_v2"] = types.ModuleType("lmms_eval.models.registry_v2")
    modules["lmms_eval.api.model"].lmms = Base
    modules["lmms_eval.models.registry_v2"].ModelManifest = ModelManifest
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield Base
    sys.modules.pop("videochat_r1.evaluation.lmms_eval.model", None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lmms")
    write_world(folder / "world", clips=2)
    saved_tiny_model(folder / "model")
    return folder


def made(place, **fields):
    from videochat_r1.evaluation.lmms_eval.plugin import models

    [manifest] = models()
    module, _, name = manifest.simple_class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)(pretrained=str(place / "model"), **{**EXTRA, **fields})


def documents(place, folder):
    """The documents and functions of our tasks, as lmms-eval would load them from the written folder."""
    from videochat_r1.datasets.base import DataSource
    from videochat_r1.evaluation.lmms_eval.tasks import write_tasks

    world = place / "world"
    source = DataSource(name="jsonl", annotations=str(world / "test.jsonl"), videos=str(world / "videos"), split="test")
    names = write_tasks(source, folder)
    return {name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()] for name in names}


def test_our_tasks_ask_read_and_score_as_we_do(place, tmp_path):
    from videochat_r1.evaluation.lmms_eval import functions

    for name, docs in documents(place, tmp_path).items():
        text = (tmp_path / f"{name}.yaml").read_text()
        assert f"task: {name}\n" in text and "dataset_path: json" in text and "!function utils.process_results" in text
        for doc in docs:
            prompt, target = functions.doc_to_text(doc, {}), functions.doc_to_target(doc)
            assert prompt and functions.doc_to_visual(doc)[0].endswith(".mp4")
            right, wrong = (functions.process_results(doc, [answer]) for answer in (target, ""))
            assert {metric for metric in right} == {line.split('"')[1] for line in text.splitlines() if "- metric:" in line}
            assert right["readable"] == [1.0, 1.0] and wrong["readable"] == [0.0, 1.0]
        whole = [functions.process_results(doc, [functions.doc_to_target(doc)])["readable"] for doc in docs]
        assert functions.aggregate(whole) == 100.0
    namespace = {}
    exec(compile((tmp_path / "utils.py").read_text(), "utils.py", "exec"), namespace)
    assert namespace["aggregate"]([[1.0, 2.0]]) == 50.0


def test_the_model_answers_requests_in_their_order_and_cuts_at_until(place, tmp_path, lmms):
    from videochat_r1.evaluation.lmms_eval import functions

    model = made(place)
    assert model.is_simple and issubclass(type(model), lmms)
    assert model.asking.order == "video_first" and model.loader.config.max_frames == TINY_VIDEO["max_frames"]
    [(name, docs), *_] = documents(place, tmp_path).items()
    model.task_dict = {name: {"test": docs}}

    def request(number, **kwargs):
        doc = docs[number % len(docs)]
        given = {"temperature": 0, "do_sample": False, **kwargs}
        return SimpleNamespace(args=(functions.doc_to_text(doc), given, functions.doc_to_visual, number % len(docs), name, "test"))

    plain = model.generate_until([request(0), request(1), request(2, max_new_tokens=2)])
    assert model.generate_until([request(1)]) == plain[1:2] and len(plain) == 3
    assert len(model.policy.tokenizer.encode(plain[2])) <= 2 <= len(model.policy.tokenizer.encode(plain[0]))
    mark = plain[0][1:3]
    assert model.generate_until([request(0, until=[mark])]) == [plain[0].partition(mark)[0]]
    with pytest.raises(NotImplementedError):
        model.loglikelihood([])
    pictures = SimpleNamespace(args=("?", {}, lambda doc: ["a.jpg", "b.jpg"], 0, name, "test"))
    with pytest.raises(DataError, match="not one video"):
        model.generate_until([pictures])


def test_a_mistyped_argument_is_named(place, lmms):
    with pytest.raises(UsageError, match="fps"):
        made(place, fsp=2)
    with pytest.raises(UsageError, match="order"):
        made(place, order="sideways")


def test_nothing_of_it_is_needed_without_lmms_eval():
    for name in ("functions", "tasks", "export", "plugin", "raw"):
        importlib.import_module(f"videochat_r1.evaluation.lmms_eval.{name}")
    assert "lmms_eval" not in sys.modules
