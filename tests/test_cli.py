"""The command line: what it prints, its exit codes, and bad requests without a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.cli import running
from orchestrator.cli.status import amount, hours_in_words
from orchestrator.planning.estimates import Left
from orchestrator.planning.plan import make_plan
from orchestrator.state.leases import Leases
from orchestrator.sweepfile.model import read_sweep
from results.tables.log import Log
from results.tables.schema import TABLES
from results.tables.storage import Storage
from results.tables.store import Tables

from command import mrsweep
from conftest import run_sweep, sweep_text
from rows import ROWS

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(sweep_text())
    return path


@pytest.fixture(scope="module")
def done(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep with a third seed, so that there is a verdict."""
    root = tmp_path_factory.mktemp("cli") / "root"
    shutil.copytree(undisturbed, root)
    run_sweep(sweep_text(seeds="3"), root)
    (root.parent / "tiny.yaml").write_text(sweep_text(seeds="3"))
    return root


def test_help_names_every_command() -> None:
    text = mrsweep("--help")
    assert text.returncode == 0
    for command in ("plan", "run", "trial", "status", "report", "list", "schema", "compact",
                    "network", "export"):  # fmt: skip
        assert f"  {command} " in text.stdout
        assert mrsweep(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "none.yaml"], "none.yaml: cannot be read: No such file"),
        (["run", "FILE", "--storage", "nosuch://x"], "cannot be opened"),
        (["run", "FILE", "--storage", "ROOT", "--device", "cuda:9", "--executor", "inline"],
         "no CUDA device"),
        (["run", "FILE", "--storage", "ROOT", "--device", "toaster"], "toaster"),
        (["trial", "FILE", "--select", "critrion=l1"], "no factor 'critrion'"),
        (["trial", "FILE", "--select", "criterion=l9"], "criterion has no level 'l9'"),
        (["report", "FILE", "--storage", "EMPTY"], "run a sweep with --storage"),
        (["list", "criterias"], "no axis 'criterias'; there are: architectures"),
        (["export", "FILE", "--storage", "DONE", "--to", "/nowhere/x.csv"], "cannot be written"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_message(
    words: list[str], message: str, file: Path, done: Path, tmp_path: Path
) -> None:
    places = {"FILE": file, "ROOT": tmp_path / "root", "EMPTY": tmp_path, "DONE": done}
    bad = mrsweep(*(places.get(word, word) for word in words))
    assert bad.returncode == 2, bad.stderr
    assert message in bad.stderr
    assert "Traceback" not in bad.stderr + bad.stdout
    assert bad.stdout == ""


def test_plan_before_and_after(file: Path, done: Path, tmp_path: Path) -> None:
    before = mrsweep("plan", file, "--storage", tmp_path / "none")
    assert "tiny: 8 trials" in before.stdout
    assert "unknown" in before.stdout
    assert not (tmp_path / "none").exists()
    after = mrsweep("plan", done.parent / "tiny.yaml", "--storage", done)
    rows = [line.split() for line in after.stdout.splitlines()]
    assert ["trial", "12", "0", "0"] in rows


def test_a_dry_run_checks_everything_and_writes_nothing(file: Path, tmp_path: Path) -> None:
    dry = mrsweep("run", file, "--storage", tmp_path / "none", "--dry-run", "--device", "cpu")
    assert dry.returncode == 0, dry.stderr
    assert "Nothing was run or written." in dry.stdout
    assert "tiny: 8 trials" in dry.stdout
    assert "time limit" in dry.stdout
    assert not (tmp_path / "none").exists()
    bad = mrsweep("run", file, "--dry-run", "--device", "cuda:99")
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr


def test_a_log_that_cannot_be_written_is_refused(file: Path, tmp_path: Path) -> None:
    bad = mrsweep("run", file, "--storage", tmp_path / "none", "--log", tmp_path / "no" / "x.jsonl")
    assert bad.returncode == 2
    assert "x.jsonl: No such file or directory" in bad.stderr
    assert not (tmp_path / "none").exists()


def test_status_says_rate_and_what_runs(done: Path) -> None:
    with Leases(Storage(str(done))) as mine:
        more = done.parent / "more.yaml"
        more.write_text(sweep_text(name="more", seeds="4"))
        dense = next(iter(make_plan(read_sweep(more)).jobs))
        key = [k for k, j in make_plan(read_sweep(more)).jobs.items() if j.kind == "dense"][-1]
        assert mine.take(key)
        assert mine.take(dense)  # done long ago: not running, whoever has its lease
        text = mrsweep("status", more, "--storage", done).stdout
    assert "16 trials: 12 done, 0 failed, 4 left" in text
    assert "running: 1 (1 x dense resnet8)" in text
    assert "jobs at once: " in text
    assert "time left at this rate: about 0.0" in text


def test_status_counts(done: Path) -> None:
    text = mrsweep("status", done.parent / "tiny.yaml", "--storage", done).stdout
    assert "12 trials: 12 done, 0 failed, 0 left" in text


def test_report_writes_where_asked(done: Path, tmp_path: Path) -> None:
    file = done.parent / "tiny.yaml"
    text = mrsweep("report", file, "--storage", done, "--to", tmp_path / "out")
    assert text.returncode == 0, text.stderr
    assert "fine-tuning" in text.stdout
    assert (tmp_path / "out/index.html").exists()
    assert mrsweep("report", file, "--storage", done, "--metric", "x").returncode == 2


@pytest.mark.parametrize(("size", "said"), [(200, "0.2 kB"), (167_756, "168 kB"),
                                            (25_000_000, "25 MB"), (3.2e12, "3.2 TB")])  # fmt: skip
def test_small_networks_take_more_than_zero_gigabytes(size: float, said: str) -> None:
    """It said 0.000 GB."""
    assert amount(size) == said


def test_hours_are_written_out() -> None:
    """A sweep took "1.2e+05 to 6.8e+05" hours."""
    hours = hours_in_words([Left(low=3600 * 119_876.5, high=3600 * 680_123)])
    assert hours == "120,000 to 680,000"
    assert hours_in_words([Left(low=3600 * 0.02834, high=3600 * 6.3)]) == "0.0283 to 6.3"


def test_export_and_compact(done: Path, tmp_path: Path) -> None:
    file = done.parent / "tiny.yaml"
    for kind, read in (("csv", pd.read_csv), ("json", pd.read_json)):
        to = tmp_path / f"trials.{kind}"
        words = ("export", file, "--storage", done, "--to", to, "--format", kind)
        assert mrsweep(*words).returncode == 0
        assert len(read(to)) == 12
    assert "trials: 0 rows moved, 1 file\n" in mrsweep("compact", "--storage", done).stdout
    again = mrsweep("run", file, "--storage", done, "--executor", "inline")
    assert again.returncode == 0
    assert "12 done before, 0 jobs to do" in again.stdout


def test_check_names_what_is_damaged(done: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(done, root)
    whole = mrsweep("check", "--storage", root, "--artifacts")
    assert whole.returncode == 0, whole.stdout
    assert whole.stdout.count("no faults") == len(TABLES) + 1  # the log
    network = next(root.glob("artifacts/dense/*/network.safetensors"))
    data = bytearray(network.read_bytes())
    data[-5] ^= 1
    network.write_bytes(bytes(data))
    for file in root.glob("tables/evaluations/*"):
        file.unlink()
    bad = mrsweep("check", "--storage", root, "--artifacts")
    assert bad.returncode == 1
    assert "its network has no evaluations" in bad.stdout
    assert f"dense/{network.parent.name}/network.safetensors: its digest" in bad.stdout
    assert mrsweep("check", "--storage", tmp_path).returncode == 2


def test_a_report_beside_another_sweep(done: Path, tmp_path: Path) -> None:
    file, to = done.parent / "tiny.yaml", tmp_path / "out"
    words = ("report", file, "--storage", done, "--to", to, "--compare")
    assert mrsweep(*words, "tiny").returncode == 0
    assert "Beside other sweeps" in (to / "index.html").read_text()
    bad = mrsweep(*words, "nosuch")
    assert bad.returncode == 2
    assert "no sweep 'nosuch'" in bad.stderr


def test_the_benchmark_takes_no_digits(done: Path, tmp_path: Path) -> None:
    words = ("--to", tmp_path / "x", "--format", "apb", "--key", "AP_Me2026Title")
    bad = mrsweep("export", done.parent / "tiny.yaml", "--storage", done, *words)
    assert bad.returncode == 2
    for fault in ("autoattack among evaluation.attacks", "takes cifar10 and svhn", "linf 0.031",
                  "architecture resnet8", "several of criterion (l1, random)"):  # fmt: skip
        assert fault in bad.stderr
    assert not (tmp_path / "x").exists()


def test_a_table_of_a_newer_version_is_one_message(done: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(done, root)
    file = next(root.glob("tables/trials/*"))
    rows = pq.read_table(file)
    pq.write_table(rows.replace_schema_metadata({"mrsweep.version": "99"}), file)
    for command in ("report", "status", "run"):
        bad = mrsweep(command, done.parent / "tiny.yaml", "--storage", root)
        assert bad.returncode == 2, bad.stdout
        assert "has schema version 99" in bad.stderr
        assert "Traceback" not in bad.stderr


def test_a_run_leaves_few_files(undisturbed: Path) -> None:
    root = Storage(str(undisturbed))
    tables = root.names("tables")
    assert [len(root.names("tables", table)) for table in tables] == [1] * len(tables)
    for folder in ("log", "leases", "drivers"):
        assert not root.names(folder)
    assert not [path for path in (undisturbed / "artifacts").glob("*/*") if not any_in(path)]


def any_in(path: Path) -> bool:
    return path.is_file() or any(path.iterdir())


def test_the_next_command_folds_what_a_killed_driver_left(
    undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path / "root")
    (tmp_path / "tiny.yaml").write_text(sweep_text())
    root = Storage(str(tmp_path / "root"))
    rows = Tables(root).find("trials", Tables(root).read("trials")["trial_id"][0])
    shutil.rmtree(tmp_path / "root/tables/trials")
    log = Log(root)
    log.write("trials", rows)
    log.commit()
    how = running.How(executor="inline", device="cpu")
    assert running.run(tmp_path / "tiny.yaml", root.root, how, Console(quiet=True))
    assert not root.names("log")
    assert len(pd.read_parquet(tmp_path / "root/tables/trials")) == 8


def test_trial_runs_the_one_selected(file: Path, tmp_path: Path) -> None:
    select = "criterion=l1,finetuning=standard,seed=1"
    text = mrsweep("trial", file, "--select", select, "--storage", tmp_path / "root")
    assert text.returncode == 0, text.stderr
    assert "finetuned_fgsm" in text.stdout
    (row,) = pd.read_parquet(tmp_path / "root/tables/trials").to_dict("records")
    assert (row["criterion"], row["finetuning"], row["seed"]) == ("l1", "standard", 1)


def test_a_failing_trial_exits_with_1_and_is_reported(done: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(sweep_text(criteria="[l1, random, 'outside:raises']", seeds="3"))
    root = tmp_path / "root"
    shutil.copytree(done, root)
    text = mrsweep("run", file, "--storage", root, "--executor", "inline", "--device", "cpu")
    assert text.returncode == 1, text.stderr
    assert "this criterion is broken" in text.stdout
    assert "6 trials failed" in text.stdout
    assert "Traceback" not in text.stderr
    page = (root / "sweeps/tiny/report/index.html").read_text()
    assert "6 failed" in page
    assert "this criterion is broken" in page
    status = mrsweep("status", file, "--storage", root).stdout
    assert "12 done, 6 failed, 0 left" in status
    assert "this criterion is broken" in status


def test_a_sweep_whose_trials_all_fail_exits_with_1(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(sweep_text(criteria="['outside:raises']", seeds="1"))
    words = ("run", file, "--storage", tmp_path / "root", "--executor", "inline")
    text = mrsweep(*words, "--device", "cpu")
    assert text.returncode == 1, text.stderr
    assert "No trial is done, so there is nothing to report." in text.stdout
    assert "2 trials failed" in text.stdout


def test_a_criterion_beside_the_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside.py").write_text("def biggest(layer):\n    return layer.weight.amax(1)\n")
    (tmp_path / "x.yaml").write_text(sweep_text(criteria="['beside:biggest']", seeds="1"))
    monkeypatch.chdir(tmp_path)
    text = mrsweep("run", "x.yaml", "--executor", "inline", "--device", "cpu")
    assert text.returncode == 0, text.stderr
    assert len(pd.read_parquet(tmp_path / "runs/tables/trials")) == 2


@pytest.mark.parametrize("axis", sorted(ROWS))
def test_list(axis: str) -> None:
    assert mrsweep("list", axis, "--names").stdout.split() == list(ROWS[axis])
    table = mrsweep("list", axis).stdout
    assert all(name in table for name in ROWS[axis])


def test_schema() -> None:
    assert json.loads(mrsweep("schema").stdout)["title"] == "Sweep"
    assert "| `finetuned_network` | string |" in mrsweep("schema", "--tables").stdout
