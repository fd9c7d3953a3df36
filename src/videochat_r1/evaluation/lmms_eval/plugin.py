"""What lmms-eval finds under the entry point group "lmms_eval.models"."""

from __future__ import annotations

from typing import Any

MODEL = "videochat_r1"


def models() -> list[Any]:
    """The manifest of the one model: `lmms_eval --model videochat_r1 --model_args pretrained=DIR_OR_NAME`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest(model_id=MODEL, simple_class_path="videochat_r1.evaluation.lmms_eval.model.VideoChatR1")]
