"""All of a policy but its weights: configuration, tokenizer and processor of a Hugging Face folder.

Prompts are written and counted with this alone, so a dry run or a walk over a data set loads no weights."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from videochat_r1.errors import EnvironmentFault, UsageError
from videochat_r1.plugins import said
from videochat_r1.policy.config import SMALL
from videochat_r1.policy.families.base import Family, family_of
from videochat_r1.spelling import near

if TYPE_CHECKING:
    from videochat_r1.video.resize import Geometry

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FILES = ("*.json", "*.txt", "*.jinja")
WEIGHTS = "*.safetensors"
ADAPTER_FILE = "adapter_config.json"


@dataclass(eq=False)
class Processing:
    """What writes prompts and reads completions of one model."""

    hf_config: Any  # the stock configuration
    tokenizer: Any  # the stock tokenizer
    processor: Any  # the stock processor, with its video processor and chat template
    extra_end_ids: tuple[int, ...] = ()  # as the model's generation settings name them
    chats: dict[str, tuple[str, str]] = field(default_factory=dict)  # prompt.py's: the chat around a question, by order

    @cached_property
    def family(self) -> Family:
        return family_of(self.hf_config)

    @cached_property
    def geometry(self) -> Geometry:
        """The size of a patch, of a token and of a moment, in pixels and frames."""
        from videochat_r1.video.resize import Geometry

        vision = self.hf_config.vision_config
        return Geometry(patch=vision.patch_size, merge=vision.spatial_merge_size, temporal_patch=vision.temporal_patch_size)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion; the first is the one that ends a written answer."""
        named = [self.tokenizer.eos_token_id, *self.extra_end_ids, *self._ids_of("<|im_end|>", "<|endoftext|>")]
        return tuple(dict.fromkeys(token for token in named if token is not None))

    @cached_property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Tokens that must never be sampled: vision and other special ones that end nothing, and rows of the vocabulary that spell
        nothing."""
        special = {token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special} | set(
            self.tokenizer.all_special_ids
        )
        unspelled = set(range(len(self.tokenizer), self.hf_config.get_text_config().vocab_size))
        return tuple(sorted((special | unspelled) - set(self.end_ids)))

    @cached_property
    def marks(self) -> re.Pattern[str]:
        """The tokenizer's special tokens as they are written: text that a question must not hold."""
        added = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        return re.compile("|".join(re.escape(token) for token in sorted(added | set(self.tokenizer.all_special_tokens))))

    @property
    def max_positions(self) -> int:
        """Tokens that prompt and completion may have together."""
        return int(self.hf_config.get_text_config().max_position_embeddings)

    def _ids_of(self, *tokens: str) -> list[int]:
        known = self.tokenizer.get_vocab()
        return [known[token] for token in tokens if token in known]


def load_processing(path: str) -> Processing:
    """From a local Hugging Face folder, a PEFT adapter's folder, or a name on the hub (see `model_folder`).

    Raises UsageError for a model that takes no video, and EnvironmentFault where a file is missing."""
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    folder = model_folder(path)
    if (folder / ADAPTER_FILE).is_file():
        return load_processing(base_of_adapter(folder))
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise EnvironmentFault(
            f"{path} has no config.json.", "Give the folder of a whole model, or of a PEFT adapter with its adapter_config.json."
        )
    try:
        model_type = str(json.loads(config_file.read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError) as fault:
        raise EnvironmentFault(
            f"{config_file} is not a model's configuration.", "Copy the folder again; the file may be cut off."
        ) from fault
    family_of(SimpleNamespace(model_type=model_type))
    _require(folder, "tokenizer", "tokenizer.json", "vocab.json")
    _require(folder, "processor", "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
    # Local files only: what the folder lacks is named here and never looked for elsewhere. Code from a folder is never run.
    ends: list[int] = []
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if (folder / "generation_config.json").is_file():
            eos = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
            ends = [eos] if isinstance(eos, int) else list(eos or ())
    except Exception as fault:  # a damaged file raises whatever the library that reads it raises
        what = f"A file of {folder} cannot be read: {said(fault)}."
        raise EnvironmentFault(what, "Copy the folder again; the file may be cut off.") from fault
    if not hasattr(processor, "video_processor"):
        raise EnvironmentFault(
            f"{path} has a tokenizer but no video processor.", "Copy the model's preprocessor_config.json beside its config.json."
        )
    return Processing(hf_config=config, tokenizer=processor.tokenizer, processor=processor, extra_end_ids=tuple(ends))


def model_folder(path: str, *, weights: bool = False) -> Path:
    """The local folder of a model, with its weights only where they are asked for.

    A folder is taken as it is and nothing is looked for elsewhere; a name on the hub ("owner/model") is taken from the local cache, and
    downloaded only where it is not whole there, HF_HUB_OFFLINE is not set, and no folder here has the name of its owner: then it is a
    path. Raises UsageError where there is neither folder nor such a name, and EnvironmentFault where the hub cannot give it."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(path) or folder.exists():
        mend = "Give a folder with config.json, or a name on the Hugging Face hub such as Qwen/Qwen2.5-VL-3B-Instruct."
        raise UsageError(f"No model folder at {path!r}.", nearest_model(folder) or mend)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(path, local_files_only=True))
        if _is_whole(cached, weights):
            return cached
    except LocalEntryNotFoundError:
        pass
    if folder.parent.is_dir():
        mend = f"{folder.parent} is a folder here; for a model of that name on the hub start where there is none."
        raise UsageError(f"No model folder at {path!r}.", nearest_model(folder) or mend)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        mend = f"Download it where there is a network (hf download {path}), or unset HF_HUB_OFFLINE."
        raise EnvironmentFault(f"{path} is no folder here, not whole in the local cache, and HF_HUB_OFFLINE is set.", mend)
    try:
        return Path(snapshot_download(path, allow_patterns=[*FILES, *([WEIGHTS] if weights else [])]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise EnvironmentFault(
            f"The hub gave no {path}: {type(fault).__name__}.", "Check name and network, or give a local folder."
        ) from fault


def nearest_model(folder: Path) -> str:
    """A sentence that names the folders beside it, or the shipped model, where a slip of the fingers makes one of them of it; else ""."""
    try:
        names = [entry.name for entry in folder.parent.iterdir() if entry.is_dir() and entry.name != folder.name]
    except OSError:
        return ""
    if folder.parent == Path():
        names.insert(0, SMALL)
    close = near(folder.name, names)
    return f"Did you mean {' or '.join(str(folder.parent / name) for name in close)}?" if close else ""


def _is_whole(folder: Path, weights: bool) -> bool:
    """Whether a snapshot in the cache, which may hold a part of the model's files, has what is needed."""
    if not (folder / "config.json").is_file() and not (folder / ADAPTER_FILE).is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if weights and index.is_file():
        return all((folder / name).is_file() for name in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return not weights or any(folder.glob(WEIGHTS))


def base_of_adapter(folder: Path) -> str:
    """The model that an adapter's folder names as its base. Raises EnvironmentFault where it names none, or one that is not there."""
    try:
        base = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except ValueError as fault:
        raise EnvironmentFault(f"{folder / ADAPTER_FILE} is not JSON.", "Copy the adapter again; the file may be cut off.") from fault
    if not base:
        raise EnvironmentFault(
            f"The adapter {folder} names no base model.", f"Write the base model's folder into {ADAPTER_FILE} as base_model_name_or_path."
        )
    if not Path(base).is_dir() and not HUB_NAME.fullmatch(base):
        mend = f"Put the base model there, or write its folder into {ADAPTER_FILE} as base_model_name_or_path."
        raise EnvironmentFault(f"The adapter {folder} was trained on {base}, which is not here.", mend)
    return str(base)


def _require(folder: Path, what: str, *names: str) -> None:
    if not any((folder / name).is_file() for name in names):
        raise EnvironmentFault(
            f"{folder} has no {what}: none of {', '.join(names)}.", f"Copy the {what} files of the base model into the folder."
        )
