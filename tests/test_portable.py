"""What a bundle takes along: a sweep file, code and versions that mean the same elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from orchestrator.cli.rerun import contents
from orchestrator.cli.rerun.lock import lock, requirements
from orchestrator.cli.rerun.sweepfile import portable
from orchestrator.planning.plan import make_plan
from orchestrator.planning.sources import sources
from orchestrator.sweepfile.model import parse_sweep
from prune_core.errors import DeclarationError
from prune_core.specs.registry import CRITERIA, Axis
from results.publish.places import without_paths, without_places

from bundled import OWN, own_method
from conftest import sweep_text

pytestmark = pytest.mark.usefixtures("alone")


def without_checkpoint(text: str) -> str:
    """The sweep with dense networks from random weights: files of a bundle lie in its folder."""
    return re.sub(r"^dense:.*$", "dense: {epochs: 1}", text, flags=re.MULTILINE)


def test_a_sweep_file_says_the_same_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    for seed in (0, 1):
        (tmp_path / "nets" / f"{seed}.pt").write_bytes(bytes([seed]))
    (tmp_path / "ratios.yaml").write_text("resnet8: {conv1: 0.5}")
    text = sweep_text(
        dataset=f"{{name: cifar10, root: {tmp_path}, source: parquet, "
        f"extra: {{file: {tmp_path}/nets/0.pt, share: 0.5}}}}",
        dense=f"{{kept: {{checkpoint: '{tmp_path}/nets/{{seed}}.pt', normalise: none}}}}",
        pruning=f"{{ratios: {tmp_path}/ratios.yaml}}",
    )
    text += f"\n# Changed by the command: dataset.root={tmp_path} pruning.ratios=x\n"
    plan = make_plan(parse_sweep(text))
    told = portable(text, plan)
    assert str(tmp_path) not in told.text
    read = yaml.safe_load(told.text)
    assert read["dataset"]["root"] == "$IMAGES"
    assert read["dataset"]["extra"]["file"] == "$EXTRA"
    assert set(make_plan(parse_sweep(without_checkpoint(told.text))).jobs) == set(
        make_plan(parse_sweep(without_checkpoint(text))).jobs
    )
    assert read["dense"]["kept"]["checkpoint"] == "checkpoints/kept-{seed}.pt"
    assert read["pruning"]["ratios"] == {"resnet8": {"conv1": 0.5}}
    assert {path: file.name for path, file in told.files.items()} == {
        "checkpoints/kept-0.pt": "0.pt", "checkpoints/kept-1.pt": "1.pt",
    }  # fmt: skip
    mine = "{name: cifar10, root: $CIFAR10, source: parquet}"
    assert "$CIFAR10" in portable(sweep_text(dataset=mine), plan).text


def test_folders_of_several_data_sets_have_variables_of_their_own(tmp_path: Path) -> None:
    of = f"root: {tmp_path}, source: parquet"
    for both in (
        f"[digits, {{name: cifar10, {of}}}]",
        f"{{digits: digits, cifar10: {{name: cifar10, {of}}}}}",
    ):
        text = sweep_text(dataset=both).replace("dataset:", "datasets:")
        told = portable(text, make_plan(parse_sweep(text)))
        assert told.elsewhere == {"datasets.cifar10.root": "$IMAGES_CIFAR10"}
        again = parse_sweep(told.text).datasets
        assert list(again) == ["digits", "cifar10"]
        assert str(again["cifar10"].root).endswith("$IMAGES_CIFAR10")


def test_machines_are_numbered_and_paths_cut() -> None:
    trials = pa.table({"node": ["b", "a", None], "error": ["x", None, "no /home/me/x y at 8/255"]})
    jobs = pa.table({"node": ["c", "b", "b"], "accuracy": [0.1, 0.2, 0.3]})
    hidden = without_places({"trials": trials, "jobs": jobs})
    assert hidden["trials"]["node"].to_pylist() == ["machine-2", "machine-1", None]
    assert hidden["jobs"]["node"].to_pylist() == ["machine-3", "machine-2", "machine-2"]
    assert hidden["trials"]["error"].to_pylist()[2] == "no …/x y at 8/255"
    assert without_paths('File "/a/b/c.py", line 3; s3://x/y/z') == (
        'File "…/c.py", line 3; s3://x/y/z'
    )


def test_a_registered_method_is_the_same_where_its_sources_are_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_method(tmp_path)
    before = [*sys.path]
    monkeypatch.syspath_prepend(str(tmp_path))
    info, put = tmp_path / "a" / "my_plugin-1.0.dist-info", tmp_path / "b"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mrsweep.criteria]\nregistered = owned:mine\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "a"))
        axis = Axis("criterion", "prune_core.pruning.scores.criteria")
        digest = axis["registered"].digest
        contents.written(sources(axis, "registered"), put)
    monkeypatch.setattr(sys, "path", [str(put), *before])
    there = Axis("criterion", "prune_core.pruning.scores.criteria")["registered"]
    assert there.digest == digest
    assert (put / "scale.txt").is_file()


def test_a_file_above_the_folder_of_imports_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "up.txt").write_text("1")
    (tmp_path / "in" / "upward.py").write_text(OWN.replace("scale.txt", "../up.txt"))
    monkeypatch.syspath_prepend(str(tmp_path / "in"))
    with pytest.raises(DeclarationError, match="above the folder that Python"):
        sources(CRITERIA, "upward:mine")


def test_a_lock_has_the_versions_that_rows_say() -> None:
    locked = lock([{"torch": "2.0.0+cu1", "version": "9"}, {"torch": "2.1.0", "version": "9"}])
    lines = requirements(locked).splitlines()
    assert "torch==2.0.0  # rows: 2.0.0+cu1, 2.1.0" in lines
    assert "# mrsweep==9  # rows: 9" in lines
    assert any(line.startswith("numpy==") for line in lines)
