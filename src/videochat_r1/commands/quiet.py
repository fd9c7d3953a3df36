"""Libraries that draw bars of their own into our display, or warn of what we do on purpose, are told to be quiet."""

from __future__ import annotations

import logging

PYTREE_LOG = "torch.utils._pytree"


def is_no_notice_of_torchao(record: logging.LogRecord) -> bool:
    """A filter of PYTREE_LOG. Transformers and PEFT load torchao wherever it is installed, whether or not it is asked for, and PyTorch 2.14
    then notes for torchao's authors, once for each, how its enumerations should be registered. A filter stays where PyTorch sets levels."""
    return "is an Enum subclass" not in str(record.msg)


def quiet_libraries() -> None:
    """Call before a model is loaded. Downloads keep their bars: they take minutes."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("huggingface_hub", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
