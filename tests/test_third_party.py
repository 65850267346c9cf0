"""Libraries are imported without what they look for and nobody asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from prune_core.models.third_party import _hidden

WORKER = """
import sys
import orchestrator.worker.job, orchestrator.worker.materialize
print(sorted({"timm", "wandb", "matplotlib", "torchattacks", "ray"} & set(sys.modules)))
from prune_core.models.third_party import load_timm
print("wandb" in sys.modules, hasattr(load_timm().utils.summary, "wandb"))
"""


def test_a_worker_imports_no_library_before_its_job_asks_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "False False"]


def test_a_hidden_package_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with _hidden("wave"), pytest.raises(ImportError):
        importlib.import_module("wave")
    assert importlib.import_module("wave")
    with _hidden("wave"):  # it is there already
        assert importlib.import_module("wave")
