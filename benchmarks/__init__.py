"""Every figure that is claimed, as a command: `python -m benchmarks.NAME` from the repository's root. README.md says what each measures."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

if importlib.util.find_spec("videochat_r1") is None:  # a machine where nothing is installed: the checkout itself will do
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from videochat_r1.commands.quiet import PYTREE_LOG, is_no_notice_of_torchao

logging.getLogger(PYTREE_LOG).addFilter(is_no_notice_of_torchao)
