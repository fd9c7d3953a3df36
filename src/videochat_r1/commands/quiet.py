"""Libraries that draw bars of their own into our display, or warn of what we do on purpose, are told to be quiet."""

from __future__ import annotations

import logging


def quiet_libraries() -> None:
    """Call before a model is loaded. Downloads keep their bars: they take minutes."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("huggingface_hub", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
