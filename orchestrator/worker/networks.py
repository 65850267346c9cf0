"""Networks of a sweep, found again: by their trial in storage, or computed to the same bits."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import torch

from orchestrator.errors import RequestError
from orchestrator.planning.cells import Cells
from orchestrator.planning.trials import Paths
from orchestrator.state.content import with_content
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.beginning import blank
from orchestrator.worker.device import prepare_process, resolve_device
from orchestrator.worker.materialize import Materializer
from prune_core.exports import files
from prune_core.exports.description import Description, describe
from prune_core.exports.filled import filled
from prune_core.exports.formats import FORMATS
from prune_core.exports.graphs import Predictor
from prune_core.exports.hub import WEIGHTS
from prune_core.models.classifier import Classifier
from prune_core.pruning.prunable.groups import Structure
from prune_core.specs.stages import Dense, Finetuned, Pruned, Trial
from results.tables.storage import Storage
from results.tables.store import Tables


@dataclass(frozen=True)
class Found:
    """A network of a trial, in eval mode, and what its file will say."""

    network: Classifier
    description: Description


def load_network(
    where: str | Path, trial_id: str | None = None, stage: str = "finetuned", device: str = "auto"
) -> Classifier:
    """Return a network in eval mode: of a file that `mrsweep network` wrote, or of a trial.

    Args:
        where: The file or its folder; with a trial, the storage root.
        trial_id: Of a row in ``trials``. Networks that were not kept are computed again.
        stage: dense, pruned or finetuned: which of the trial's networks.
        device: Where to.

    Returns:
        A module from images [n, c, h, w] in [0,1] to logits [n, classes].

    Raises:
        ExportError: The file is none of ours.
        RequestError: The trial is not in a sweep of the storage root, or is another one today.
    """
    device = resolve_device(device)
    if trial_id is not None:
        storage = Storage(str(where))
        trial = trial_of(storage, trial_id)
        return found(storage, trial, stage, device, {}).network.to(device)
    path = Path(where)
    names = (WEIGHTS, FORMATS["safetensors"].file)
    inside = [path / name for name in names if (path / name).is_file()]
    return files.read(inside[0] if inside else path)[0].to(device)


def trial_of(storage: Storage, trial_id: str) -> Trial:
    """Return a trial as the sweep that it was planned in makes it.

    Raises:
        RequestError: No sweep of the storage root has it, or it has another key by now.
    """
    for name in storage.names("sweeps"):
        data = storage.read("sweeps", name, "plan.parquet")
        text = storage.read("sweeps", name, "sweep.yaml")
        rows = pq.read_table(io.BytesIO(data)).to_pylist() if data and text else []
        labels = next((row for row in rows if row.pop("trial_id") == trial_id), None)
        if text is None or labels is None:
            continue
        sweep = with_content(parse_sweep(text.decode(), name), storage, lambda *_: None)
        trial = Paths(Cells(sweep, (labels["seed"],))).trial(labels)
        if trial.key != trial_id:
            raise RequestError(
                f"trial {trial_id} of sweep {name!r} is {trial.key} with this version of mrsweep, "
                "these images and these methods: they are not those that it was run with"
            )
        return trial
    raise RequestError(f"no sweep in {storage.root!r} has a trial {trial_id!r}")


def network_of(trial: Trial, stage: str) -> Dense | Pruned | Finetuned:
    """Return the stage of one of a trial's networks.

    Raises:
        RequestError: There is no such stage.
    """
    if stage == "dense":
        return trial.dense
    if stage == "pruned":
        return trial.pruned
    if stage == "finetuned":
        return trial.network
    raise RequestError(f"no stage {stage!r}; there are: dense, pruned, finetuned")


def found(
    storage: Storage,
    trial: Trial,
    stage: str,
    device: str,
    row: Mapping[str, Any],
    masks: str = "kept",
) -> Found:
    """Return one of a trial's networks, from storage or computed again, and its description.

    Args:
        storage: The storage root.
        trial: The trial.
        stage: dense, pruned or finetuned.
        device: Where it is computed.
        row: The trial's row, for the description.
        masks: ``kept``; ``merged``: zeros that nothing holds; ``filled``: with zeros in the place
            of channels that were removed, too.

    Raises:
        ExportError: Zeros in the place of its channels change what it computes.
    """
    prepare_process(device, 0)
    materializer = Materializer(Tables(storage), torch.device(device), ())
    wanted = network_of(trial, stage)
    kept = materializer.artifacts.has(wanted.kind, wanted.key)
    with materializer.checkpoints:
        network = cast(Classifier, materializer.network(wanted))
    if not kept:
        materializer.checkpoints.drop(wanted if isinstance(wanted, Dense) else trial)
    data = materializer.data(wanted)
    pruned = None if isinstance(wanted, Dense) else trial.pruned
    structure: Structure = materializer.pruning_facts(pruned)["structure"] if pruned else {}
    channels = any(structure.values())  # under masks they name layers alone
    if masks == "filled" and channels:
        network = filled(blank(wanted, data), network, data.shape, structure)
    if masks != "kept":
        files.merge_masks(network)
        structure = structure if channels and masks == "merged" else {}
    described = describe(network, data, wanted, pruned, structure or None, dict(row))
    return Found(network.cpu(), described)


def export_for_benchmark(storage: Storage, trial: Trial, file: Path) -> None:
    """Write a final network as the adversarial pruning benchmark loads it, under ``state_dict``.

    Raises:
        ExportError: It cannot be written, or not in the shape of its base model.
    """
    network = found(storage, trial, "finetuned", "cpu", {}, "filled").network
    held = {"state_dict": files.weights_of(network)}
    torch.save(held, file)


def differing(
    storage: Storage, trial: Trial, stage: str, predict: Predictor, device: str = "cpu"
) -> tuple[int, int]:
    """Compare what a file computes with the row of the clean evaluation, image by image.

    Returns:
        How many test images are right in one and wrong in the other, of how many.

    Raises:
        RequestError: The network was not evaluated.
    """
    materializer = Materializer(Tables(storage), torch.device(device), ())
    clean = trial.evaluations(network_of(trial, stage))[0]
    rows = materializer.tables.find("evaluations", clean.key)
    if not rows:
        raise RequestError(f"the {stage} network of trial {trial.key} was not evaluated")
    test = materializer.data(clean).test
    with torch.no_grad():
        right = [predict(images).argmax(1) == labels for images, labels in test.batches(512)]
    known = np.unpackbits(np.frombuffer(rows[0]["outcomes"], np.uint8), count=rows[0]["count"])
    now = torch.cat(right).numpy()
    return int((now != known.astype(bool)).sum()), len(now)
