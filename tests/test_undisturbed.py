"""A user's own code does not change the process that it runs in, and does not end it."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from prune_core.errors import OwnCodeError
from prune_core.models.state import seeded
from prune_core.specs.registry import CRITERIA
from prune_core.undisturbed import undisturbed

CHANGES: dict[str, Callable[[], object]] = {
    "numbers": lambda: torch.set_default_dtype(torch.float64),
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "determinism": lambda: torch.use_deterministic_algorithms(True),
    "precision": lambda: torch.set_float32_matmul_precision("high"),
    "kernels": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "folder": lambda: os.chdir("/"),
}


def settings() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        cudnn.benchmark, cudnn.allow_tf32, Path.cwd(),
    )  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_what_own_code_changes_of_the_process_is_put_back(what: str) -> None:
    before = settings()
    with undisturbed("criteria: mine:best"):
        CHANGES[what]()
        assert settings() != before
    assert settings() == before


@pytest.mark.parametrize("where", ["call", "import"])
def test_own_code_cannot_end_the_process(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"call": "def f(layer): raise SystemExit(0)", "import": "def f(layer): pass\nexit(0)"}
    (tmp_path / "own_leaver.py").write_text(text[where])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_leaver", raising=False)
    with pytest.raises(OwnCodeError, match=r"criteria: own_leaver:f ends the process: .*\(0\)"):
        CRITERIA.load("own_leaver:f")(None)


def test_all_global_generators_are_seeded_and_put_back() -> None:
    def drawn() -> tuple[float, ...]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: S311 - the global ones

    with seeded(0, torch.device("cpu")):
        before = drawn()
        with seeded(7, torch.device("cpu")):
            first = drawn()
        after = drawn()
    with seeded(7, torch.device("cpu")):
        assert drawn() == first
    with seeded(0, torch.device("cpu")):
        assert (drawn(), drawn()) == (before, after)
