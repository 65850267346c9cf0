"""Requests that cannot work are refused before anything runs or is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from orchestrator.cli.request import check_methods
from orchestrator.errors import RequestError
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep

from conftest import sweep_text


def write(root: Path, classes: int) -> str:
    for part in ("train", "test"):
        for label in range(classes):
            folder = root / part / f"c{label}"
            folder.mkdir(parents=True)
            for index in range(10):
                Image.new("RGB", (8, 8), (20 * label, index, 0)).save(folder / f"{index}.png")
    return f"{{name: imagefolder, root: '{root}'}}"


@pytest.mark.parametrize(
    ("classes", "attacks", "refused"),
    [
        (2, "[fgsm, apgd-dlr]", ["attack 'apgd-dlr' needs at least 3 classes"]),
        (3, "[apgd-dlr]", []),
        (3, "[autoattack, fgsm]", ["attack 'autoattack' needs at least 4 classes"]),
        (3, "[fgsm+autoattack]", ["attack 'fgsm+autoattack' needs at least 4 classes"]),
        (2, "[apgd-dlr, autoattack]", ["'apgd-dlr' needs at least 3", "'autoattack' needs"]),
        (4, "[autoattack]", []),
    ],
)
def test_an_attack_that_needs_more_classes_is_refused(
    classes: int, attacks: str, refused: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    data = write(tmp_path / "images", classes)
    sweep = parse_sweep(sweep_text(dataset=data, evaluation=f"{{attacks: {attacks}}}"))
    plan = make_plan(sweep)
    if not refused:
        check_methods(plan, None, Console())
        return
    with pytest.raises(RequestError) as error:
        check_methods(plan, None, Console())
    assert len(str(error.value).splitlines()) == len(refused)
    for words in refused:
        assert words in str(error.value)
    assert f"; imagefolder has {classes}" in str(error.value)
