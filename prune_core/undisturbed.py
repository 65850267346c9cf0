"""What a user's own code changes of the process is put back: results must not hang on its history.

Such as ``torch.set_float32_matmul_precision("high")`` at the top of a module: it would hold in the
process that has just imported it, and in no other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prune_core.errors import OwnCodeError

SETTINGS = (
    ("get_default_dtype", "set_default_dtype"),
    ("is_grad_enabled", "set_grad_enabled"),
    ("get_num_threads", "set_num_threads"),
    ("are_deterministic_algorithms_enabled", "use_deterministic_algorithms"),
    ("get_float32_matmul_precision", "set_float32_matmul_precision"),
)
"""Of torch: what reads and what sets them."""
CUDNN = ("deterministic", "benchmark", "allow_tf32")


@contextmanager
def undisturbed(what: str) -> Iterator[None]:
    """Let a user's own code run; put back what it changes of the process.

    Args:
        what: The method, such as ``criteria: mine:best``.

    Raises:
        OwnCodeError: It wants to end the process, or changes what cannot be put back.
    """
    folder, before = _folder(), _settings()
    try:
        yield
    except SystemExit as left:
        raise OwnCodeError(f"{what} ends the process: SystemExit({left.code!r})") from left
    finally:
        if folder is not None and _folder() != folder:
            os.chdir(folder)
        try:
            now = _settings()
        except RuntimeError as error:  # torch cannot read them by these names any more
            raise OwnCodeError(
                f"{what} sets a fp32_precision of torch.backends, which cannot be put back; leave "
                "it out: compute.precision says what is computed in"
            ) from error
        for name, (value, write) in before.items():
            if now[name][0] != value:
                write(value)


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None


def _settings() -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """Return torch's settings, each with what sets it; none before torch is imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    cudnn = torch.backends.cudnn
    return {
        **{read: (getattr(torch, read)(), getattr(torch, write)) for read, write in SETTINGS},
        **{flag: (getattr(cudnn, flag), lambda v, f=flag: setattr(cudnn, f, v)) for flag in CUDNN},
    }
