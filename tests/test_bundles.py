"""Bundles: whole, of one sweep alone, described, and without a place of a machine."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import results
from orchestrator.cli.rerun import contents

from bundled import bundle

pytestmark = pytest.mark.usefixtures("alone")


def test_a_bundle_has_one_sweep_alone_and_a_digest_of_every_file(made: Path) -> None:
    loaded = results.load(str(made), sweep="tiny")
    assert loaded.missing == 0
    assert len(pq.read_table(made / "tables" / "trials")) == 12
    assert "finetuned_pgd_2" not in loaded.trials
    assert set(loaded.evaluations["network"]) <= set(
        loaded.trials[["dense_network", "pruned_network", "finetuned_network"]].to_numpy().ravel()
    )
    record = json.loads((made / "bundle.json").read_text())
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert files == {*record["files"], "bundle.json"}
    for path, digest in record["files"].items():
        assert hashlib.sha256((made / path).read_bytes()).hexdigest() == digest
    assert {"code/owned.py", "code/half.py", "code/scale.txt"} <= files
    assert list(record["methods"]) == ["criteria owned:mine"]


def test_it_names_no_machine(made: Path, here: Path) -> None:
    for path in (path for path in made.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data = pq.read_table(path).to_pandas().to_csv().encode()
        for place in (str(here), str(Path.home()), results.load("runs").trials["node"].iloc[0]):
            assert place.encode() not in data, path
    assert set(results.load(str(made)).jobs["node"]) == {"machine-1"}


def test_what_describes_it_says_who_and_under_which_licence(made: Path) -> None:
    front = (made / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert {one["config_name"] for one in yaml.safe_load(front)["configs"]} >= {"trials", "jobs"}
    cited = yaml.safe_load((made / "CITATION.cff").read_text())
    assert cited["authors"] == [{"name": "Ada Lovelace"}]
    graph = json.loads((made / "ro-crate-metadata.json").read_text())["@graph"]
    by_id = {entity["@id"]: entity for entity in graph}
    assert len(by_id) == len(graph)
    named = [part["@id"] for part in by_id["./"]["hasPart"]]
    assert {"tables/trials/000001.parquet", "README.md", "croissant.json"} <= set(named)
    assert all((made / path).is_file() and path in by_id for path in named)
    assert by_id["./"]["license"]["@id"] in by_id


@pytest.mark.usefixtures("unjudged")
def test_what_nobody_said_is_left_open(here: Path, tmp_path: Path) -> None:
    ended = bundle(tmp_path / "out")
    assert "Open: its licence" in ended.stdout
    assert "OPEN" in (tmp_path / "out" / "CITATION.cff").read_text()
    assert json.loads((tmp_path / "out" / "croissant.json").read_text())["license"][:4] == "OPEN"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # how mlcroissant calls its libraries
def test_croissant_is_valid_and_reads_the_tables(made: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="of the extra dev")
    data = mlcroissant.Dataset(made / "croissant.json")
    assert not data.metadata.ctx.issues.errors
    assert not data.metadata.ctx.issues.warnings
    assert len(list(data.records("trials"))) == 12


def test_croissant_describes_every_column_and_the_responsible_use(made: Path) -> None:
    said = json.loads((made / "croissant.json").read_text())
    assert said["conformsTo"][0].endswith("croissant/1.1")
    for records in said["recordSet"]:
        table = pq.read_table(made / "tables" / records["name"])
        assert [field["name"] for field in records["field"]] == table.column_names
    assert said["rai:dataCollectionMissingData"] == "All 12 planned trials are done."
    assert len([name for name in said if name.startswith("rai:")]) >= 14


@pytest.mark.usefixtures("unjudged")
def test_networks_come_along_where_they_are_asked_for(here: Path, tmp_path: Path) -> None:
    words = ["--select", "criterion=l1,finetuning=none,seed=0", "--device", "cpu"]
    ended = bundle(tmp_path / "out.zip", "--network", "pruned", *words)
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        (name,) = [name for name in archive.namelist() if "/networks/" in name]
    assert name.endswith("-pruned/network.safetensors")


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_full_disk_leaves_nothing(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    what = (zipfile.ZipFile, "write") if name.endswith("zip") else (Path, "write_bytes")
    monkeypatch.setattr(*what, full)
    ended = bundle(tmp_path / "to" / name)
    assert ended.returncode == 2
    assert "cannot be written: No space left on device" in ended.stderr
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.usefixtures("unjudged")
def test_what_is_there_and_what_did_not_run_so_is_refused(here: Path, tmp_path: Path) -> None:
    ended = bundle(tmp_path)
    assert ended.returncode == 2
    assert "is there already" in ended.stderr
    ended = bundle(tmp_path / "out", "--license", "CC BY 4", "--select", "seed=0")
    assert ended.returncode == 2
    assert "'CC BY 4' is no SPDX identifier" in ended.stderr
    assert "give --network too" in ended.stderr
    ended = bundle(tmp_path / "out", "threat.eps=0.1")
    assert ended.returncode == 2
    assert "12 of the 12 trials that ran as 'tiny' are not in this plan" in ended.stderr


@pytest.mark.usefixtures("unjudged")
def test_a_comment_with_a_place_is_refused(here: Path, tmp_path: Path) -> None:
    file = here / "runs" / "sweeps" / "tiny" / "sweep.yaml"
    before = file.read_text()
    file.write_text(f"# see {here}/notes\n{before}")
    ended = bundle(tmp_path / "out")
    file.write_text(before)
    assert ended.returncode == 2
    assert f"sweeps/tiny/sweep.yaml names {here}" in ended.stderr


def test_rows_are_written_under_the_sweep_s_own_names(here: Path) -> None:
    loaded = results.load("runs", sweep="tiny")
    tables = contents.tables_of(loaded)
    assert tables["trials"].schema.field("trial_id").metadata[b"meaning"]
    data = io.BytesIO(contents.packed(tables["trials"]))
    assert pq.read_table(data)["finetuning"].to_pylist() == list(loaded.trials["finetuning"])
