"""What several command-line tests run on, made once for each file of them."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder of a small drawn world, as `videochat-r1 world` writes it."""
    from videochat_r1.world.files import write_world

    folder = tmp_path_factory.mktemp("world")
    write_world(folder, clips=4)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A stock folder of a tiny random model."""
    from tests.command_line import saved_tiny_model

    return saved_tiny_model(tmp_path_factory.mktemp("model"))
