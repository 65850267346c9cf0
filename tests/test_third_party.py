"""Libraries are imported without the trackers that they look for."""

from __future__ import annotations

import importlib
import sys

import pytest

from prune_core.models.third_party import _hidden, timm


def test_timm_has_found_no_wandb() -> None:
    assert not hasattr(timm.utils.summary, "wandb")


def test_a_hidden_package_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with _hidden("wave"), pytest.raises(ImportError):
        importlib.import_module("wave")
    assert importlib.import_module("wave")
    with _hidden("wave"):  # it is there already
        assert importlib.import_module("wave")
