"""Loading: a sweep's rows of every table, outcomes image by image, names that are nearly right."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

import results
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.specs.stages import Evaluation, Trial
from results.errors import AnalysisError, StorageError
from results.statistics.levels.by_image import network_outcomes
from results.tables.schema import KEY, TABLES

from conftest import DEMO, run_sweep, sweep_text


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps in one root that share a dense network, each with a pruning of its own."""
    root = tmp_path_factory.mktemp("two")
    for name, criterion in (("one", "l1"), ("two", "l2")):
        run_sweep(sweep_text(name=name, criteria=f"[{criterion}]", seeds="1"), root)
    return root


def test_every_table_has_the_sweep_s_rows_alone(root: Path) -> None:
    both, one, two = (results.load(str(root), sweep=name) for name in (None, "one", "two"))
    sizes = {}
    for table in TABLES:
        whole, mine, other = (tables.read(table) for tables in (both, one, two))
        assert list(mine.columns) == list(whole.columns)
        keys = list(KEY[table])
        joined = pd.concat([mine, other]).drop_duplicates(keys)
        assert set(map(tuple, joined[keys].to_numpy())) == set(map(tuple, whole[keys].to_numpy()))
        sizes[table] = (len(mine), len(other), len(whole))
        pd.testing.assert_frame_equal(getattr(one, table), mine)
    assert sizes["trials"] == (2, 2, 4)
    assert sizes["jobs"] == (4, 4, 7)  # the dense network's is of both
    assert sizes["evaluations"] == (6, 6, 10)
    assert set(one.modules["network"]) == set(one.trials["pruned_network"])


def test_a_root_without_lists_of_stages_is_read_by_its_trials(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / "sweeps/one/stages.parquet").unlink()
    for table in ("evaluations", "modules", "epochs"):
        expected = results.load(str(root), sweep="one").read(table)
        pd.testing.assert_frame_equal(results.load(str(copy), sweep="one").read(table), expected)


def test_a_network_s_evaluations_are_those_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer mrsweep evaluates otherwise, another sweep by another radius: networks stay."""
    text = sweep_text(name="one", criteria="[l1]", seeds="3", evaluation="{attacks: [fgsm]}")
    run_sweep(text, tmp_path)
    before = results.load(str(tmp_path), sweep="one").evaluations
    run_sweep(text.replace("name: one", "name: two").replace("eps: 0.15", "eps: 0.1"), tmp_path)
    with monkeypatch.context() as newer:
        newer.setattr(Evaluation, "version", Evaluation.version + 1)
        newer.setattr(Trial, "version", Trial.version + 1)
        run_sweep(text, tmp_path)
    now = results.load(str(tmp_path), sweep="one")
    assert len(now.evaluations) == len(before)
    assert not set(now.evaluations["key"]) & set(before["key"])
    assert set(now.evaluations["network"]) == set(before["network"])
    assert now.evaluations["eps"].dropna().unique().tolist() == [0.15]
    network_outcomes(now.trials, now.evaluations, "finetuned_fgsm")
    assert len(now.checks) == now.checks.drop_duplicates(["network", "check"]).shape[0]


def test_columns_are_read_alone(root: Path) -> None:
    tables = results.load(str(root), sweep="two")
    assert list(tables.read("jobs", ["kind", "seconds"]).columns) == ["kind", "seconds"]
    assert tables.read("trials", ["criterion"])["criterion"].tolist() == ["l2", "l2"]


def test_a_plan_names_every_stage_that_its_trials_go_through() -> None:
    plan = make_plan(parse_sweep(DEMO.read_text()))
    stages = plan.stages()
    assert stages >= plan.jobs.keys()
    for trial in plan.trials.values():
        assert {trial.stage.network.key, trial.stage.dense.key} <= stages
        assert {trial.stage.sanity.key, *(each.key for each in trial.evaluations)} <= stages


def test_outcomes_are_those_of_the_accuracies(root: Path) -> None:
    tables = results.load(str(root), sweep="one")
    for stage in ("dense", "finetuned"):
        found = results.outcomes(tables, stage=stage)
        assert len(found) == 2 * 2 * 100
        accuracy = found.groupby(["trial_id", "attack"])["correct"].mean().unstack()
        rows = tables.trials.set_index("trial_id")
        for attack in ("clean", "fgsm"):
            np.testing.assert_allclose(accuracy[attack], rows[f"{stage}_{attack}"][accuracy.index])
    one = results.outcomes(tables, attack="fgsm")
    assert set(one["attack"]) == {"fgsm"}
    assert one.groupby("trial_id")["image"].apply(list).iloc[0] == list(range(100))


def test_the_views_of_duckdb_say_the_same(root: Path) -> None:
    connection = duckdb.connect()
    connection.execute(f"SET VARIABLE tables = '{root}/tables'")
    connection.execute((Path(__file__).parents[1] / "docs/views.sql").read_text())
    rows = connection.sql("FROM outcomes ORDER BY ALL").fetchall()
    found = results.outcomes(results.load(str(root))).sort_values(["trial_id", "attack", "image"])
    assert rows == list(found.itertuples(index=False, name=None))
    metrics = connection.sql("SELECT count(*), count(DISTINCT metric) FROM metrics").fetchall()
    assert metrics == [(4 * 6, 6)]


def test_a_name_that_is_nearly_right_is_told(root: Path) -> None:
    with pytest.raises(StorageError, match=r"no sweep 'onne' in .*; did you mean 'one'"):
        results.load(str(root), sweep="onne")
    unplanned = root / "sweeps" / "onne" / "sweep.yaml"
    unplanned.parent.mkdir()
    unplanned.touch()
    with pytest.raises(StorageError, match=r"no sweep 'onne' in .*; did you mean 'one'"):
        results.load(str(root), sweep="onne")
    tables = results.load(str(root))
    with pytest.raises(StorageError, match="no table 'evaluation'; did you mean 'evaluations'"):
        tables.read("evaluation")
    with pytest.raises(StorageError, match="trials has no column 'criterium'; did you mean 'crit"):
        tables.read("trials", ["criterium"])
    with pytest.raises(AnalysisError, match="no attack 'fsgm'; did you mean 'fgsm'"):
        results.outcomes(tables, attack="fsgm")
    with pytest.raises(AnalysisError, match="no stage 'prune'; did you mean 'pruned'"):
        results.outcomes(tables, stage="prune")
    with pytest.raises(AnalysisError, match="no metric 'finetuned_fsgm'; did you mean"):
        results.level_means(tables.trials, "finetuned_fsgm", "criterion")
    with pytest.raises(AnalysisError, match="criterion has no level 'l3'; did you mean 'l"):
        results.paired_difference(tables.trials, "finetuned_fgsm", "criterion", "l1", "l3")


def test_estimators_take_frames_that_other_libraries_read(root: Path) -> None:
    """Their levels are categories."""
    plain = pd.read_parquet(root / "tables/trials")
    ours = results.load(str(root)).trials
    for frame in (plain.sample(frac=1, random_state=0), ours):
        found = results.level_means(frame, "finetuned_fgsm", "finetuning")
        assert found["trials"].tolist() == [2, 2]

    def decomposed(frame: pd.DataFrame) -> pd.DataFrame:
        noise = np.random.default_rng(0).normal(0, 0.01, 4)
        seeds = [
            frame.assign(seed=seed, finetuned_fgsm=frame["finetuned_fgsm"] + noise * seed)
            for seed in range(3)
        ]
        return results.decompose(pd.concat(seeds), "finetuned_fgsm", ["criterion", "finetuning"])

    one, other = decomposed(plain), decomposed(ours)
    pd.testing.assert_frame_equal(one, other)
