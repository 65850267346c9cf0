"""The command line as a user gives it, in this process: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from orchestrator.__main__ import main


@dataclass(frozen=True)
class Ended:
    """A command that has ended, named as `subprocess` names it."""

    returncode: int
    stdout: str
    stderr: str


def mrsweep(*words: object) -> Ended:
    """Give a command; what it changes of this process is undone."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["mrsweep", *map(str, words)])
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())
