"""Faults that a user can mend. Each carries its exit code, what happened, and the mend; the command line prints both and no traceback."""

from __future__ import annotations


class UserFault(Exception):
    """What went wrong in one line, and in a second one what to do about it."""

    exit_code = 1

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what if not mend else f"{what}\n{mend}")
        self.what = what
        self.mend = mend


class UsageError(UserFault):
    """A wrong argument, name or recipe."""

    exit_code = 2


class TaskFault(UsageError):
    """A function of a task in the user's own file raised, or gave what it must not. `short` says which of the two in a few words."""

    def __init__(self, what: str, mend: str, short: str) -> None:
        super().__init__(what, mend)
        self.short = short


class DataError(UserFault):
    """An annotation file or a row that cannot be used."""

    exit_code = 3


class VideoError(DataError):
    """A video that cannot be used. `reason` is one of the codes of video/decode.py, such as "not_a_video" or "truncated"."""

    def __init__(self, reason: str, what: str, mend: str = "") -> None:
        super().__init__(what, mend)
        self.reason = reason


class Unscorable(Exception):
    """Raised by a reward that cannot tell what an answer earns (a judge that does not reply). It is nobody's fault and never a score of 0:
    the completion is left out of its group's statistics and of the loss, and is counted. Of each kind of a reward's the first is told."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class EnvironmentFault(UserFault):
    """The machine: a folder that cannot be written or is in use, a full disk, too little memory, a missing extra."""

    exit_code = 4


class Interrupted(UserFault):
    """Stopped by a signal after a complete step; --resume goes on."""

    exit_code = 5


class NumericalStop(UserFault):
    """Non-finite numbers several steps in a row."""

    exit_code = 6
