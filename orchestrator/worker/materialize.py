"""Materializing: what a stage yields, loaded where storage has it, computed where it has not.

What is missing or damaged is computed on the spot, with its parents. The scheduler's order only
keeps two jobs from computing the same thing at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.state import rows
from orchestrator.state.artifacts import Artifacts
from orchestrator.worker.beginning import blank, first
from orchestrator.worker.checkpoints import Checkpoints
from orchestrator.worker.telling import Telling
from prune_core.data import datasets
from prune_core.data.splits import divided
from prune_core.models.state import load_tensors
from prune_core.pruning import prune as pruning
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.counting import origin_of
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableModule, Structure
from prune_core.pruning.ratios import sensitivities
from prune_core.pruning.scores import scoring
from prune_core.specs.keys import derive_seed
from prune_core.specs.recipes import Training
from prune_core.specs.registry import POLICIES
from prune_core.specs.stage import NETWORK, SCORES, Stage
from prune_core.specs.stages import (
    Dense,
    Finetuned,
    Pruned,
    Rewound,
    Scores,
    Sensitivity,
    dense_of,
)
from prune_core.training import loop as training
from prune_core.training.growth import Rule
from prune_core.training.harp import learner_of
from prune_core.training.history import Checkpoint, Epoch, so_far
from prune_core.training.policies import Start
from results.tables.rows import gives_way
from results.tables.store import Tables

Network = Dense | Rewound | Pruned | Finetuned


class Materializer:
    """Makes networks, scores and sensitivities on one device, out of and into one storage root."""

    def __init__(
        self,
        tables: Tables,
        device: torch.device,
        keep: tuple[str, ...],
        telling: Telling | None = None,
        checkpoints: Checkpoints | None = None,
    ):
        self.telling = telling or Telling()
        self.artifacts = Artifacts(tables.storage)
        self.checkpoints = checkpoints or Checkpoints(self.artifacts)
        self.tables = tables
        self._facts: dict[str, dict[str, Any]] = {}
        self.device, self.keep = device, keep
        self.fresh: frozenset[str] = frozenset()  # trainings known to have no checkpoint

    def make(self, stage: Stage) -> None:
        """See to it that a stage's result is in storage.

        Raises:
            TypeError: It is no stage that yields a file.
        """
        if isinstance(stage, Sensitivity):
            self.sensitivity(stage)
        elif isinstance(stage, Scores):
            self.scores(stage)
        elif isinstance(stage, Dense | Rewound | Pruned | Finetuned):
            self.network(stage)
        else:
            raise TypeError(f"a stage {stage.kind!r} yields no file")

    def network(self, stage: Network) -> nn.Module:
        """Return a stage's network on the device, in eval mode."""
        stored = self._stored(stage)
        return self.computed(stage) if stored is None else stored.eval()

    def computed(self, stage: Network, rewinds: Sequence[Rewound] = ()) -> nn.Module:
        """Return a stage's network as `network` does, where storage has none.

        Args:
            stage: The stage.
            rewinds: Earlier states of a dense network, to be stored too where it is trained here.
        """
        if isinstance(stage, Dense):
            return self._dense(stage, rewinds).eval()
        if isinstance(stage, Rewound):
            return self._rewound(stage).eval()
        return (self._pruned(stage) if isinstance(stage, Pruned) else self._finetuned(stage)).eval()

    def _stored(self, stage: Network) -> nn.Module | None:
        stored = self.artifacts.load(stage.kind, stage.key, NETWORK)
        if stored is None:
            return None
        tensors, facts = stored
        self._facts[stage.key] = facts
        network = blank(stage, self.data(stage))
        if isinstance(stage, Pruned | Finetuned):
            cut = (stage if isinstance(stage, Pruned) else stage.pruned).granularity
            pruning.rebuild(network, self.data(stage).shape, cut, facts["structure"])
        load_tensors(network, tensors)
        return network.to(self.device)

    def _save(
        self, stage: Stage, network: nn.Module, structure: Structure | None, **facts: Any
    ) -> None:
        facts["structure"] = structure
        self.tables.commit()  # a network that is there is not made again, nor its rows
        self.artifacts.save(stage.kind, stage.key, NETWORK, dict(network.state_dict()), facts)

    def _dense(self, stage: Dense, rewinds: Sequence[Rewound]) -> nn.Module:
        network = first(stage, self.data(stage))
        by_epoch = {rewound.epoch: rewound for rewound in rewinds}

        def keep_rewound(epoch: int) -> None:
            if epoch in by_epoch:
                self._save(by_epoch[epoch], network, None)

        keep_rewound(0)
        self._fit(stage, network, stage.training, after_epoch=keep_rewound)
        self._save(stage, network, None, classes=list(self.data(stage).names))
        self.checkpoints.drop(stage)
        return network

    def _rewound(self, stage: Rewound) -> nn.Module:
        """Train the dense network again up to the epoch: its own job did not store this state."""
        network, dense = first(stage.network, self.data(stage)), stage.network
        how = (dense.training, dense.threat, dense.key)
        training.fit(network, self.data(stage), *how, compute=dense.compute, until=stage.epoch)
        self._save(stage, network, None)
        return network

    def _pruned(self, stage: Pruned) -> nn.Module:
        network, data = self.network(stage.network), self.data(stage)
        past = stage.network.pruned if isinstance(stage.network, Finetuned) else None
        origin = origin_of(blank(stage, data), data.shape, stage.granularity) if past else None
        structure, report = pruning.prune(
            network,
            data.shape,
            stage,
            self.scores(stage.scores, network),
            self.scores(stage.ranking, network) if stage.ranking else None,
            self.sensitivity(stage.sensitivity) if stage.sensitivity else None,
            origin,
        )
        if past:
            structure = pruning.compose(self.pruning_facts(past)["structure"], structure)
        facts = {**asdict(report), "kept_units": pruning.digest(network, structure)}
        units = {module.module: module.width_before for module in report.modules}
        kept = pruning.kept_bitmaps(network, structure, units)
        self.tables.write("modules", rows.module_rows(stage, facts["modules"], kept))
        self._save(stage, network, structure, report=facts)
        return network

    def _finetuned(self, stage: Finetuned) -> nn.Module:
        network = self.network(stage.pruned)
        rule = POLICIES.load(stage.policy)(network, self._start(stage))
        masks.hold(masks.masked(network))
        teacher = self.network(dense_of(stage)) if stage.training.taught else None
        self._fit(stage, network, stage.training, teacher, rule=rule)
        if "finetune" in self.keep:
            self._save(stage, network, self.pruning_facts(stage.pruned)["structure"])
        return network

    def _start(self, stage: Finetuned) -> Start:
        """Return what the policy of a fine-tuning may use."""
        seed, rewound, fresh = derive_seed(stage.key, "policy"), None, None
        needs = POLICIES[stage.policy].needs
        if stage.rewound is not None:
            rewound = self._cut_alike(self.network(stage.rewound), stage.pruned)
        if "fresh" in needs:
            new = blank(stage, self.data(stage), seed).to(self.device)
            fresh = self._cut_alike(new, stage.pruned)
        train = self.data(stage).train
        batches = divided(torch.arange(len(train)), stage.training.batch_size)
        images = (train.batch(each)[0] for each in batches) if "images" in needs else ()
        return Start(seed, rewound, fresh, images, stage.growth)

    def _cut_alike(self, network: nn.Module, pruned: Pruned) -> nn.Module:
        """Cut another network of the same architecture as a pruned one was cut; return it."""
        structure = self.pruning_facts(pruned)["structure"]
        pruning.rebuild(network, self.data(pruned).shape, pruned.granularity, structure)
        masks.take_masks(network, self.network(pruned))
        return network

    def _fit(
        self,
        stage: Dense | Finetuned | Scores,
        network: nn.Module,
        recipe: Training,
        teacher: nn.Module | None = None,
        after_epoch: Callable[[int], None] = lambda _: None,
        penalty: Callable[[int], Tensor] | None = None,
        rule: Rule | None = None,
    ) -> None:
        checkpoint = None if stage.key in self.fresh else self.checkpoints.load(stage)

        def write(epochs: Sequence[Epoch]) -> None:
            self.tables.write("epochs", rows.epoch_rows(stage, map(asdict, epochs)))

        def keep(history: Sequence[Epoch], copied: Callable[[], Checkpoint]) -> None:
            after_epoch(len(history))
            if self.checkpoints.due(last=len(history) == recipe.epochs):
                self.checkpoints.save(stage, copied())
            write(so_far(history)[-1:])
            self.telling.epoch([*map(asdict, history)], recipe.epochs, stage.key)

        if checkpoint:
            write(so_far(checkpoint.history))  # a worker that died may have taken some with it
        settings = (stage.threat, stage.key, checkpoint, keep, stage.compute, teacher, rule)
        write(training.fit(network, self.data(stage), recipe, *settings, penalty=penalty))

    def epochs(self, stage: Finetuned) -> list[rows.Row]:
        """Return the rows of a fine-tuning's epochs; trained again where they are gone."""
        epochs = self.tables.find("epochs", stage.key)
        if epochs is None or any(gives_way("epochs", epoch) for epoch in epochs):
            self._finetuned(stage)
            epochs = self.tables.find("epochs", stage.key)
        return epochs or []

    def sensitivity(self, stage: Sensitivity) -> dict[str, sensitivities.Measured]:
        """Return the sensitivity of every layer or module, from storage where it is there."""
        stored = self.artifacts.load_facts(stage.kind, stage.key)
        if stored is None:
            network, data = self.network(stage.network), self.data(stage)
            if stage.scores is None or stage.granularity is None:
                layers = list(masks.maskable(network))
                measured = sensitivities.measure(network, layers, data, stage)
            else:
                view = prunable_view(network, data.shape, stage.granularity)
                scores = self.scores(stage.scores, network)
                measured = sensitivities.measure_removal(network, view, scores, data, stage)
            stored = {name: asdict(value) for name, value in measured.items()}
            self.artifacts.save_facts(stage.kind, stage.key, stored)
        return {
            name: sensitivities.Measured(value["value"], tuple(value["rises"]), value["spread"])
            for name, value in stored.items()
        }

    def scores(self, stage: Scores, network: nn.Module | None = None) -> dict[str, Tensor]:
        """Return every module's scores, from storage where they are there.

        Those that a look at the weights gives are not stored.
        """
        stored = self.artifacts.load(stage.kind, stage.key, SCORES)
        if stored is not None:
            return {name: tensor.to(self.device) for name, tensor in stored[0].items()}
        network = self.network(stage.network) if network is None else network
        data = self.data(stage)
        modules = prunable_view(network, data.shape, stage.unit).modules
        trained = self._trained_scores(stage, network, modules)
        scores = scoring.score(network, data, modules, stage, trained)
        if stage.needs_data:
            self.tables.commit()
            self.artifacts.save(stage.kind, stage.key, SCORES, scores, {})
            self.checkpoints.drop(stage)
        return scores

    def _trained_scores(
        self, stage: Scores, network: nn.Module, modules: Sequence[PrunableModule]
    ) -> dict[str, Tensor] | None:
        if stage.training is None:
            return None
        learner = learner_of(network, modules, stage)
        teacher = network if stage.training.taught else None
        self._fit(stage, learner, stage.training, teacher, penalty=learner.penalty)
        return learner.scores()

    def pruning_facts(self, stage: Pruned) -> dict[str, Any]:
        """Return what the pruning reported, pruning again where that is gone."""
        facts = self._facts.get(stage.key) or self.artifacts.facts(stage.kind, stage.key, NETWORK)
        if facts is None:
            self.network(stage)
            facts = self.artifacts.facts(stage.kind, stage.key, NETWORK)
        if facts is None:
            raise OSError(f"the pruned network {stage.key} was written but cannot be read back")
        return facts

    def data(self, stage: Stage) -> datasets.Dataset:
        """Return the data set that a stage descends from."""
        dense = dense_of(stage)
        return datasets.load(dense.dataset, self.device, dense.seed)
