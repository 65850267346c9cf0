"""Executors: what is settled before Ray is imported."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.driver.executors import opened


def test_ray_has_a_home_where_the_user_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers that run under a user id without an entry."""
    homes: list[str | None] = []

    @contextlib.contextmanager
    def joined(*_: object) -> Iterator[None]:
        homes.append(os.environ.get("HOME"))
        yield

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    joining = SimpleNamespace(joined=joined)
    monkeypatch.setitem(sys.modules, "orchestrator.driver.on_ray.join", joining)
    for name in list(os.environ):
        monkeypatch.setenv(name, os.environ[name])  # so that all of it is put back
    with opened("ray", "cpu", 1, 1, None):
        assert homes == [os.environ["HOME"]]
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with opened("ray", "cpu", 1, 1, None):
        assert Path(str(homes[-1])).is_dir()
