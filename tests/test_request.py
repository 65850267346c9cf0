"""Requests that cannot work are refused before anything runs or is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from orchestrator.cli.checks import check_methods
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


def faults(text: str, address: str | None = None) -> list[str]:
    try:
        check_methods(make_plan(parse_sweep(text)), address, Console())
    except RequestError as error:
        return str(error).splitlines()
    return []


OWN = """
SLOPE = 3
class Score:
    def __init__(self, power): self.power = power
    def __call__(self, layer): return layer.weight.sum(1)
made = Score(2)
uncallable = type("Bare", (), {})()
"""


def test_methods_of_the_user_s_are_imported_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_methods.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import nowhere_at_all\ndef f(*given): pass\n")
    sweep = sweep_text(
        criteria="['own_methods:made', 'own_methods:Score', 'own_methods:uncallable', l1]",
        evaluation="{attacks: [fgsm+own_broken:f], sanity_images: 0}",
        finetuning="{mine: {objective: 'awp:own_broken:f', epochs: 1}}",
    )
    assert [re.split(":f| 1 required", fault)[0] for fault in faults(sweep)] == [
        "criterion 'own_methods:Score' cannot be imported: TypeError: Score.__init__() missing",
        "criterion 'own_methods:uncallable' is nothing that can be called",
        "attack 'own_broken",
        "objective 'own_broken",
    ]


@pytest.mark.parametrize("architecture", ["outside:LayerScaled", "outside:no_tensor"])
def test_networks_are_tried_for_a_cluster_too(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where images are known here: they are the same everywhere, or lie here as well."""
    said = "returns a list" if architecture == "outside:no_tensor" else "cannot be built"
    for data in ("digits", f"{{name: cifar10, root: {tmp_path}, source: parquet}}"):
        found = faults(sweep_text(dataset=data, architectures=f"['{architecture}']"), "auto")
        assert len(found) == 1
        assert said in found[0]
    hidden = f"{{name: imagefolder, root: {tmp_path}/none, content: '{'0' * 20}'}}"
    assert faults(sweep_text(dataset=hidden, architectures=f"['{architecture}']"), "auto") == []
    assert "imagefolder is not on this machine" in capsys.readouterr().out
