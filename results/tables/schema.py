"""The tables' schema: every column with its type, unit and meaning, in one place.

The same definitions type the Parquet files, go into their metadata and into the documents.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

Migration = Callable[[str, pa.Table], pa.Table]
MIGRATIONS: tuple[Migration, ...] = (lambda _, rows: rows,)
"""Version 2 has the same columns in every file of a table, and levels by dictionary.

Step n brings a table of version n + 1 to version n + 2, given its name and rows as written.

A column that is merely new needs none: files from before it read with nulls.
"""
VERSION = 1 + len(MIGRATIONS)
STAGES = ("dense", "pruned", "finetuned")
FACTORS = (
    "dataset", "architecture", "dense", "criterion", "sparsity", "allocation", "granularity",
    "finetuning",
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column; ``unit`` is empty where the value has none."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    part: int | None = None
    """Of what the levels of fine-tuning may differ in: its rank, the chief parts being 1."""


TEXT, REAL, INT, BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")

TABLES: dict[str, tuple[Column, ...]] = {
    "trials": (
        Column("trial_id", TEXT, "", "key of the trial's last stage"),
        Column("status", TEXT, "", "done, failed or skipped"),
        Column("error", TEXT, "", "why it failed; null otherwise"),
        Column("dataset", TEXT, "", "factor: data set"),
        Column("classes", INT, "classes", "that images are told apart into; null where it failed"),
        Column("train_images", INT, "images", "to train on; null where it failed"),
        Column("architecture", TEXT, "", "factor: architecture"),
        Column("dense", TEXT, "", "factor: name of the dense network's training"),
        Column("checkpoint", TEXT, "", "digest of the file it starts from; null: random weights"),
        Column("criterion", TEXT, "", "factor: pruning criterion"),
        Column("sparsity", REAL, "share", "factor: share of the budget asked to be removed"),
        Column("budget", TEXT, "", "what the share is of: params or macs"),
        Column("allocation", TEXT, "", "factor: how the budget is spread over modules"),
        Column("granularity", TEXT, "", "factor: what is removed"),
        Column("finetuning", TEXT, "", "factor: name of the fine-tuning"),
        Column("objective", TEXT, "", "fine-tuning's objective; null without fine-tuning", part=1),
        Column("policy", TEXT, "", "fine-tuning's policy", part=1),
        Column("epochs", INT, "epochs", "fine-tuning's epochs, of all rounds", part=1),
        Column("rounds", INT, "rounds",
               "prunings, each with its fine-tuning; over 1: iterative", part=10),
        Column("drop_share", REAL, "share",
               "of a layer's weights that are dropped at first, where masks change", part=10),
        Column("update_every", INT, "steps", "of which one changes the masks", part=10),
        Column("stop_growing", REAL, "share", "of the training after which masks stay", part=10),
        Column("reported_epoch", INT, "epochs", "the epoch whose weights are reported"),
        Column("lr", REAL, "", "fine-tuning's peak learning rate", part=1),
        Column("optimizer", TEXT, "", "fine-tuning's optimizer", part=3),
        Column("schedule", TEXT, "", "fine-tuning's learning-rate schedule", part=2),
        Column("schedule_start", INT, "epochs",
               "epochs of the schedule behind it at its begin", part=12),
        Column("milestones", TEXT, "shares", "schedule step: where the rate drops", part=11),
        Column("lr_drop", REAL, "", "schedule step: what the rate is multiplied by", part=11),
        Column("warmup", REAL, "share",
               "schedule one-cycle: share in which the rate rises", part=11),
        Column("momentum", REAL, "", "fine-tuning's momentum, AdamW's first beta", part=6),
        Column("weight_decay", REAL, "", "fine-tuning's weight decay", part=5),
        Column("batch_size", INT, "images", "fine-tuning's batch size", part=4),
        Column("label_smoothing", REAL, "share",
               "of the labels' probability, spread evenly", part=8),
        Column("attack_steps", INT, "steps", "PGD steps of fine-tuning's objective", part=7),
        Column("attack_step", REAL, "eps", "length of such a step, in radii of the threat", part=7),
        Column("attack_mode", TEXT, "", "mode of the network while training attacks it", part=7),
        Column("beta", REAL, "", "weight of the robust term of trades and mart", part=7),
        Column("awp_gamma", REAL, "share",
               "radius of awp's perturbation, of the weights' norm", part=9),
        Column("awp_warmup", REAL, "share",
               "of the training before awp perturbs weights", part=9),
        Column("distill_weight", REAL, "share",
               "of the loss that the dense network teaches", part=9),
        Column("temperature", REAL, "", "of distillation", part=9),
        Column("averaging", TEXT, "", "of the weights: none, ema or swa", part=9),
        Column("ema_decay", REAL, "", "of the exponential average, a step", part=9),
        Column("ema_warmup", BOOL, "",
               "whether it is at most (1 + t) / (10 + t) after t steps", part=9),
        Column("swa_start", REAL, "share", "of the epochs before equal averaging begins", part=9),
        Column("selection", TEXT, "",
               "how the reported epoch is chosen: last or validation", part=9),
        Column("profile", TEXT, "", "how its trainings compute: exact, fast, or own settings"),
        Column("precision", TEXT, "", "of fine-tuning's arithmetic; evaluation has float32"),
        Column("channels_last", BOOL, "", "whether fine-tuning kept images channels-last"),
        Column("fused", BOOL, "", "whether fine-tuning's optimizer is one kernel"),
        Column("benchmark", BOOL, "", "whether fine-tuning took cuDNN's fastest kernels"),
        Column("graphs", TEXT, "", "auto: fine-tuning's steps were replayed where they can be"),
        Column("compile", BOOL, "", "whether fine-tuning was compiled"),
        Column("seed", INT, "", "block: all trials of a seed share its dense network"),
        Column("norm", TEXT, "", "norm of the threat"),
        Column("eps", REAL, "intensity in [0,1]", "radius of the threat"),
        Column("params", INT, "parameters", "parameters of the pruned network, masked ones aside"),
        Column("macs", INT, "MACs", "of convolutions and linear layers for one image, masks aside"),
        Column("params_removed", REAL, "share", "share of parameters removed"),
        Column("macs_removed", REAL, "share", "share of multiply-accumulates removed"),
        Column("channels_removed", REAL, "share", "share of channels removed; null under masks"),
        Column("kept_units", TEXT, "",
               "digest of the units left: networks of one dense network with the same are equal"),
        Column("shortfall", TEXT, "", "what of the budget could not be met; null where it was met"),
        Column("dense_network", TEXT, "", "key of the dense network, as in evaluations, epochs"),
        Column("pruned_network", TEXT, "", "key of the pruned network, as in modules"),
        Column("finetuned_network", TEXT, "", "key of the final network"),
        Column("flags", TEXT, "", "sanity checks it failed, and collapsed; null where none"),
        Column("weight_bytes", INT, "bytes", "of its weights, in a file; null if not measured"),
        Column("latency_1", REAL, "s", "of the final network, one image; null if not measured"),
        Column("latency_128", REAL, "s", "of the final network, a batch of 128 images"),
        Column("speedup_1", REAL, "times", "latency of the dense network, over latency_1"),
        Column("speedup_128", REAL, "times", "latency of the dense network, over latency_128"),
        Column("finetune_seconds", REAL, "s", "time of fine-tuning, over all attempts"),
        Column("evaluate_seconds", REAL, "s", "time of evaluating the final network"),
        Column("device", TEXT, "", "device it ran on"),
        Column("node", TEXT, "", "machine it ran on"),
        Column("version", TEXT, "", "version of mrsweep"),
        Column("commit", TEXT, "", "commit of mrsweep's checkout, -dirty where files differed"),
        Column("torch", TEXT, "", "version of torch"),
        Column("torchvision", TEXT, "", "version of torchvision"),
        Column("timm", TEXT, "", "version of timm"),
        Column("torch_pruning", TEXT, "", "version of Torch-Pruning"),
        Column("cuda", TEXT, "", "version of CUDA that torch was built for; null without"),
        Column("processor", TEXT, "", "model of the processor"),
        Column("accelerator", TEXT, "", "model of the GPU; null on a CPU"),
        Column("finished", TIME, "", "when the row was written"),
    ),
    "evaluations": (
        Column("key", TEXT, "", "key of the evaluation"),
        Column("network", TEXT, "", "key of the network"),
        Column("stage", TEXT, "", "dense, pruned or finetuned"),
        Column("dataset", TEXT, "", "name of the data set"),
        Column("split", TEXT, "", "always test"),
        Column("attack", TEXT, "", "name of the attack"),
        Column("norm", TEXT, "", "norm of the threat; null for clean"),
        Column("eps", REAL, "intensity in [0,1]", "radius of the threat; null for clean"),
        Column("accuracy", REAL, "share", "share of images classified rightly"),
        Column("count", INT, "images", "number of images"),
        Column("outcomes", pa.binary(), "bitmap", "right or wrong by image, highest bit first"),
        Column("distances", pa.binary(), "of norm", "attacks that look for it: to each image's "
               "nearest misclassified one, 32-bit floats; infinite where none was found"),
        Column("seconds", REAL, "s", "time it took"),
    ),
    "epochs": (
        Column("network", TEXT, "", "key of the network, or of the scores, in training"),
        Column("stage", TEXT, "", "dense, scores or finetuned"),
        Column("epoch", INT, "epochs", "counted from 1"),
        Column("loss", REAL, "nats", "mean loss on the training images as trained on"),
        Column("train_accuracy", REAL, "share", "on the training images as trained on"),
        Column("validation_accuracy", REAL, "share", "on clean validation images"),
        Column("validation_robust", REAL, "share", "under PGD-10; null where nothing asks for it"),
        Column("validation_one_step", REAL, "share", "under the only step that it trains on"),
        Column("collapsed", BOOL, "", "it withstands the one step of its training, PGD-10 not"),
        Column("reported", BOOL, "", "whether the training ends with this epoch's weights; "
               "null while it goes on"),
        Column("lr", REAL, "", "learning rate at the end of the epoch"),
        Column("seconds", REAL, "s", "time of the epoch"),
        Column("images_per_second", REAL, "images/s", "rate of the epoch"),
        Column("graphs", TEXT, "", "steps replayed, and why not more; null if not asked for"),
    ),
    "checks": (
        Column("key", TEXT, "", "key of the checks of a network"),
        Column("network", TEXT, "", "key of the network, as finetuned_network in trials"),
        Column("check", TEXT, "", "what was checked"),
        Column("stronger", TEXT, "", "the attack that must be at least as strong"),
        Column("weaker", TEXT, "", "the attack that it must match"),
        Column("against", INT, "images", "attacked, right under the stronger alone; null if none"),
        Column("attacked", INT, "images", "known under both attacks; no more where these decide"),
        Column("images", INT, "images", "test images checked on"),
        Column("passed", BOOL, "", "false where the stronger is weaker, at 0.001"),
    ),
    "modules": (
        Column("network", TEXT, "", "key of the pruned network"),
        Column("module", TEXT, "", "root layer of the prunable module"),
        Column("position", INT, "", "order in the network, from 0"),
        Column("layers", INT, "layers", "layers that make the module's units"),
        Column("mrs", REAL, "nats or share", "sensitivity, by removal that of half of the units; "
               "null where the allocation asks none"),
        Column("mrs_spread", REAL, "nats or share", "how far restarts of a perturbation lie apart"),
        Column("ratio", REAL, "share", "share of the module's units removed"),
        Column("width_before", INT, "units", "channels, heads or weights in the dense network"),
        Column("width_after", INT, "units", "channels, heads or weights kept"),
        Column("kept", pa.binary(), "bitmap", "units of the dense network kept, highest bit first: "
               "all channels, or 1,024 weights of a larger layer, the same in all networks"),
        Column("params_before", INT, "parameters", "parameters of those layers, dense"),
        Column("params_after", INT, "parameters", "parameters of those layers, pruned"),
    ),
    "jobs": (
        Column("key", TEXT, "", "key of the stage"),
        Column("kind", TEXT, "", "dense, rewind, sensitivity, scores, prune or trial; "
               "probe and a part: a batch that plan --probe timed, as probe pgd-20"),
        Column("attempt", INT, "", "counted from 1, over all launches"),
        Column("status", TEXT, "", "done or failed"),
        Column("cause", TEXT, "", "error, system, storage, memory, lost, preempted or time; "
               "null if done"),
        Column("error", TEXT, "", "why it failed; null otherwise"),
        Column("architecture", TEXT, "", "architecture it worked on"),
        Column("batch_size", INT, "images", "of its training steps; null where it trains nothing"),
        Column("dataset", TEXT, "", "its images, with what the sweep takes of them"),
        Column("images", INT, "images", "to train on"),
        Column("work", REAL, "passes", "forward passes of an image that it was counted to take"),
        Column("resumed_epoch", INT, "epochs", "epochs already behind it when it began"),
        Column("node", TEXT, "", "machine it ran on"),
        Column("node_id", TEXT, "", "the cluster's name of that machine; null without a cluster"),
        Column("device", TEXT, "", "device it ran on"),
        Column("accelerator", TEXT, "", "model of the GPU; null on a CPU"),
        Column("cpus", REAL, "CPUs", "that it was given"),
        Column("gpus", REAL, "GPUs", "that it was given"),
        Column("start", TIME, "", "when it began, by its machine's clock"),
        Column("end", TIME, "", "when it ended, by its machine's clock"),
        Column("seconds", REAL, "s", "time it took, by a clock that does not jump"),
        Column("peak_memory", INT, "bytes", "peak memory: of the device on a GPU, else resident"),
        Column("device_memory", INT, "bytes", "memory that the GPU has; null on a CPU"),
        Column("gpu_joules", REAL, "J", "that its part of the GPU took, by NVML; null if not told"),
        Column("cpu_joules", REAL, "J",
               "that its part of the processor took, by RAPL; null if not told"),
    ),
}  # fmt: skip

SUBFACTORS = tuple(
    column.name
    for column in sorted(TABLES["trials"], key=lambda column: column.part or 0)
    if column.part
)
"""What the levels of fine-tuning may differ in, by rank; of one rank in the columns' order."""

KEY = {
    "trials": ("trial_id",),
    "evaluations": ("key",),
    "epochs": ("network", "epoch"),
    "checks": ("key", "check"),
    "modules": ("network", "module"),
    "jobs": ("key", "attempt"),
}
"""The columns that name a row: no two rows of a table agree in all of them."""


def metric_name(stage: str, attack: str) -> str:
    """Return the column of a metric: ``finetuned_pgd_20``."""
    return f"{stage}_{re.sub(r'[^A-Za-z0-9]+', '_', attack)}"


@functools.cache
def _columns(table: str) -> frozenset[str]:
    return frozenset(known.name for known in TABLES[table])


def is_metric(column: str) -> bool:
    """Say whether a column of ``trials`` holds an accuracy."""
    return column not in _columns("trials") and column.startswith(
        tuple(f"{stage}_" for stage in STAGES)
    )


def arrow_schema(table: str, metrics: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of a table's files, units and meanings in the fields' metadata."""
    return _arrow_schema(table, tuple(metrics), VERSION)


@functools.lru_cache
def _arrow_schema(table: str, metrics: tuple[str, ...], version: int) -> pa.Schema:
    columns = [
        *TABLES[table],
        *(Column(name, REAL, "share", f"test accuracy: {name}") for name in metrics),
    ]
    fields = [
        pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns
    ]
    return pa.schema(fields, metadata={"mrsweep.table": table, "mrsweep.version": str(version)})


def file_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema as files have it: the levels of factors by dictionary.

    The data set is no dictionary: it was no factor when there were files already.
    """
    coded = pa.dictionary(pa.int32(), TEXT)
    for at, field in enumerate(schema):
        if field.name in FACTORS[1:] and field.type == TEXT:
            schema = schema.set(at, field.with_type(coded))
    return schema
