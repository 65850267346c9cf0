"""The tables' schema: columns with type, unit and meaning; a setting of a training has its own."""

from __future__ import annotations

import pytest

from prune_core.specs.compute import Compute
from prune_core.specs.recipes import FinetuningLevel, Training
from results.statistics.design.words import metric_label
from results.tables.schema import (
    KEY,
    SUBFACTORS,
    TABLES,
    VERSION,
    arrow_schema,
    is_metric,
    metric_name,
)


@pytest.mark.parametrize("recipe", [Training, FinetuningLevel, Compute])
def test_every_setting_of_a_training_has_a_column(recipe: type) -> None:
    assert set(recipe.model_fields) <= {column.name for column in TABLES["trials"]}


def test_every_setting_of_a_fine_tuning_is_a_subfactor() -> None:
    assert set(SUBFACTORS) == {*FinetuningLevel.model_fields}


def test_the_chief_parts_of_fine_tuning_come_first() -> None:
    """Of two that tell the same levels apart, the report names the first."""
    assert " ".join(SUBFACTORS) == (
        "objective policy epochs lr schedule optimizer batch_size weight_decay momentum "
        "attack_steps attack_step attack_mode beta label_smoothing awp_gamma awp_warmup "
        "distill_weight temperature averaging ema_decay ema_warmup swa_start selection rounds "
        "drop_share update_every stop_growing "
        "milestones lr_drop warmup schedule_start"
    )


def test_every_column_has_type_unit_and_meaning() -> None:
    for table, columns in TABLES.items():
        schema = arrow_schema(table)
        assert schema.metadata[b"mrsweep.version"] == str(VERSION).encode()
        assert set(KEY[table]) <= set(schema.names)
        for column in columns:
            assert column.meaning
            assert schema.field(column.name).metadata[b"meaning"] == column.meaning.encode()


def test_metrics_have_names() -> None:
    assert metric_name("finetuned", "pgd-20") == "finetuned_pgd_20"
    assert metric_label("finetuned_pgd_20") == "PGD-20 accuracy"
    assert metric_label("pruned_clean") == "clean accuracy"
    for attack, told in {
        "autoattack": "AutoAttack", "apgd_ce": "APGD-CE", "square_500": "Square-500",
        "pgd_10_2": "PGD-10-2", "fgsm+square_100": "FGSM+Square-100", "ho_fmn_8": "HO-FMN-8",
        "corruption_fog_3": "corruption-fog-3",
    }.items():  # fmt: skip
        assert metric_label(f"finetuned_{attack}") == f"{told} accuracy"
    assert is_metric("dense_fgsm")
    assert not is_metric("finetuned_network")
    assert not is_metric("sparsity")
