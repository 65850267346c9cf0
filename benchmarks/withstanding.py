"""Which part of an evaluation is spent on images that withstand it.

That part is what an attack on a copy of lower precision cannot save: an image that it does not
break must be attacked again in float32, or it would be counted as robust by a weaker attack.
Run: python benchmarks/withstanding.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from prune_core.attacks.evaluation import evaluate
from prune_core.data import datasets
from prune_core.models.architectures import build
from prune_core.models.folding import Twin
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Threat
from prune_core.specs.stages import Dense, Evaluation
from prune_core.training.loop import fit

SPEC = Dataset(name="digits")
STEPS = {"pgd-20": 20, "apgd-ce": 100, "apgd-dlr": 100, "square-500": 500}
"""Of each attack: how often an image that withstands it passes, at least."""
RADII = (0.15, 0.2, 0.25)
IMAGES = 256


class Counting(Twin):
    """A twin that counts the images that pass through it."""

    passed = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        self.passed += len(images)
        return super().forward(images)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = datasets.load(SPEC, torch.device("cpu"))
    recipe = Training(objective="pgd", epochs=6, lr=0.05, attack_steps=5).resolved()
    network = build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    fit(network, data, recipe, Threat(eps=RADII[0]), "k")
    test = data.test.take(torch.arange(IMAGES))
    print("| radius | attack | withstand, % | of all passes theirs, % |\n| --- | --- | --- | --- |")
    for eps in RADII:
        threat = Threat(eps=eps)
        stage = Dense(dataset=SPEC, architecture="resnet8", training=recipe, threat=threat, seed=0)
        for attack, steps in STEPS.items():
            twin = Counting(network)
            judged = Evaluation(network=stage, attack=attack, threat=threat)
            share = evaluate(network, test, judged, twin).accuracy
            theirs = share * IMAGES * steps / twin.passed
            print(f"| {eps} | {attack} | {100 * share:.0f} | {100 * theirs:.0f} |", flush=True)


if __name__ == "__main__":
    main()
