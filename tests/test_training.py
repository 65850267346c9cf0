"""Training: independence of global state, divergence, averages, what PGD buys."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from prune_core.attacks.evaluation import accuracy, evaluate
from prune_core.data import datasets
from prune_core.data.augmentation import flip_and_shift
from prune_core.errors import DivergedError
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Growth, Training
from prune_core.specs.registry import POLICIES
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation
from prune_core.training.averaging import decay_after
from prune_core.training.history import Checkpoint, Epoch, best_epoch, collapses
from prune_core.training.loop import fit
from prune_core.training.policies import Start
from prune_core.training.schedules import rate
from prune_core.training.step import Step

from conftest import THREAT, blank, dense_stage, keeping
from rows import names


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


RECIPES: dict[str, dict[str, object]] = {
    **{name: {"objective": name} for name in names("objectives")},
    "ema": {"averaging": "ema", "ema_decay": 0.9},
    "swa": {"averaging": "swa", "swa_start": 0.4},
    "adamw": {"optimizer": "adamw", "lr": 0.003},
    "validation": {"selection": "validation", "lr": 0.3, "schedule": "constant"},
    "all": {
        "objective": "awp:distill:fgsm", "averaging": "ema", "ema_decay": 0.9,
        "optimizer": "adamw", "lr": 0.003, "selection": "validation",
    },
}  # fmt: skip

GROWTH = Growth(drop_share=0.3, update_every=2, stop_growing=0.8)


def recipe(epochs: int = 3, **settings: object) -> Training:
    return Training.model_validate({"epochs": epochs, "lr": 0.05, **settings}).resolved()


def few(data: datasets.Dataset, count: int = 384) -> datasets.Dataset:
    """The first training images, and some of the validation images."""
    train, validation = (
        split.take(torch.arange(size))
        for split, size in ((data.train, count), (data.validation, 64))
    )
    return dataclasses.replace(data, train=train, validation=validation)


def test_training_leaves_global_state_alone(digits: datasets.Dataset) -> None:
    stage = dense_stage("pgd", epochs=1)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    network = blank(digits)
    fit(network, digits, stage.training, stage.threat, stage.key)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in network.parameters())
    assert not network.training


def test_a_diverging_loss_ends_the_training(digits: datasets.Dataset) -> None:
    stage = dense_stage(epochs=3)
    wild = stage.training.model_copy(update={"lr": 1e9})
    with pytest.raises(DivergedError, match=r"the loss was (nan|inf) in epoch 1 of 3"):
        fit(blank(digits), digits, wild, None, "k")


def test_adversarial_training_buys_robustness(digits: datasets.Dataset) -> None:
    robust = {}
    test = digits.test.take(torch.arange(200))
    for objective in ("standard", "pgd"):
        stage = dense_stage(objective, epochs=4)
        network = blank(digits)
        fit(network, digits, stage.training, stage.threat, stage.key)
        attack = Evaluation(network=stage, attack="pgd-20", threat=THREAT)
        robust[objective] = evaluate(network, test, attack).accuracy
    assert robust["pgd"] > robust["standard"] + 0.15


@pytest.mark.parametrize("name", names("policies"))
def test_policies(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (copy.deepcopy(trained) for _ in range(3))
    earlier = blank(digits, seed=5)
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        POLICIES.load(name)(network, Start(seed, earlier, blank(digits, seed=seed), growth=GROWTH))
    assert same(first, second)
    rewinds, measures = (need in POLICIES[name].needs for need in ("rewound", "images"))
    assert same(first, trained) == (name != "scratch" and not rewinds and not measures)
    assert same(first, earlier) == rewinds
    assert same(first, other) == (name != "scratch")
    assert torch.equal(torch.random.get_rng_state(), state)
    if name == "scratch":
        assert same(first, blank(digits, seed=1))


RATES: dict[str, tuple[dict[str, object], list[float]]] = {
    "constant": ({}, [1, 1, 1, 1, 1]),
    "cosine": ({}, [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]),
    "step": ({"milestones": (0.5, 0.75), "lr_drop": 0.1}, [1, 1, 0.1, 0.01, 0.01]),
    "one-cycle": ({"warmup": 0.5}, [0, 0.5, 1, 0.5, 0]),
}


@pytest.mark.parametrize("schedule", names("schedules"))
def test_learning_rates(schedule: str) -> None:
    settings, expected = RATES[schedule]
    whole = recipe(4, lr=0.02, schedule=schedule, **settings)
    assert [rate(whole, at) / 0.02 for at in range(5)] == pytest.approx(expected)
    tail = whole.model_copy(update={"epochs": 2, "schedule_start": 2})
    assert [rate(tail, at) / 0.02 for at in range(3)] == pytest.approx(expected[2:])


def test_the_rate_of_a_training_follows_its_schedule(digits: datasets.Dataset) -> None:
    history = fit(blank(digits), few(digits), recipe(2, lr=0.02), None, "k")
    # Rates are taken in the middle of a step: three steps an epoch.
    expected = [0.02 * (0.5 + 0.5 * math.cos(math.pi * at / 6)) for at in (2.5, 5.5)]
    assert [epoch.lr for epoch in history] == pytest.approx(expected)


def test_averages_are_the_averages_of_the_weights(digits: datasets.Dataset) -> None:
    kept: list[Checkpoint] = []

    def raw(**settings: object) -> tuple[list[Checkpoint], nn.Module]:
        kept.clear()
        network = blank(digits)
        fit(network, few(digits), recipe(4, **settings), None, "k", on_epoch=keeping(kept))
        return list(kept), network

    name = "network.network.conv.weight"
    plain, last = raw()
    after = [checkpoint.tensors[name] for checkpoint in plain]
    torch.testing.assert_close(last.network.conv.weight, after[-1])
    swa, averaged = raw(averaging="swa", swa_start=0.5)
    torch.testing.assert_close(averaged.network.conv.weight, (after[2] + after[3]) / 2)
    # Its statistics are those of the clean training images at the averaged weights.
    fresh = copy.deepcopy(averaged)
    update_bn([few(digits).train.batch(slice(i, i + 128))[0] for i in (0, 128, 256)], fresh)
    assert same(fresh.eval(), averaged)
    assert [e.validation_accuracy for e in swa[0].history] == [
        e.validation_accuracy for e in plain[0].history
    ]
    stepped, _ = raw(batch_size=384)
    for warmup, decays in ((False, [0.9, 0.9, 0.9]), (True, [2 / 11, 3 / 12, 4 / 13])):
        _, once = raw(averaging="ema", ema_decay=0.9, ema_warmup=warmup, batch_size=384)
        expected = stepped[0].tensors[name]
        for decay, checkpoint in zip(decays, stepped[1:], strict=True):
            expected = decay * expected + (1 - decay) * checkpoint.tensors[name]
        torch.testing.assert_close(once.network.conv.weight, expected)


def test_awp_begins_when_its_warm_up_is_over(digits: datasets.Dataset) -> None:
    kept: dict[str, list[Tensor]] = {}
    for objective, settings in (("pgd", {}), ("awp:pgd", {"awp_warmup": 0.5})):
        chosen = recipe(2, objective=objective, attack_steps=1, **settings)
        after: list[Checkpoint] = []
        fit(blank(digits), few(digits, 128), chosen, THREAT, "k", on_epoch=keeping(after))
        kept[objective] = [each.tensors["network.network.conv.weight"] for each in after]
    same_weights = [torch.equal(*pair) for pair in zip(*kept.values(), strict=True)]
    assert same_weights == [True, False]


@pytest.mark.parametrize(("steps", "left"), [(20, 1e-6), (1000, 1e-12)])
def test_an_exponential_average_forgets_the_network_that_it_began_with(
    steps: int, left: float
) -> None:
    settings = recipe(1, averaging="ema")
    assert settings.ema_decay == 0.999
    assert math.prod(decay_after(settings, step) for step in range(1, steps)) < left
    assert decay_after(settings, 100_000) == 0.999


def test_validation_chooses_the_best_epoch_and_its_weights(digits: datasets.Dataset) -> None:
    settings = recipe(6, objective="pgd", attack_steps=1, selection="validation", lr=0.3)
    weights: list[Checkpoint] = []
    network = blank(digits)
    history = fit(network, few(digits), settings, THREAT, "k", on_epoch=keeping(weights))
    robust = [epoch.validation_robust for epoch in history]
    best = robust.index(max(robust))
    assert [epoch.reported for epoch in history] == [index == best for index in range(6)]
    chosen = weights[best].tensors
    assert all(torch.equal(chosen[f"network.{n}"], t) for n, t in network.state_dict().items())
    assert best_epoch(history, settings.model_copy(update={"selection": "last"})) == 5


@pytest.mark.parametrize(
    ("robust", "expected"),
    [
        ([0.4, 0.42, 0.45], [False, False, False]),
        ([0.1, 0.2, 0.4], [False, False, False]),  # not robust yet
        ([0.4, 0.2, 0.3], [False, True, False]),
        ([0.04, 0.2, 0.0], [True, False, True]),
    ],
)
def test_collapse_is_one_step_withstood_and_iterations_not(
    robust: list[float], expected: list[bool]
) -> None:
    """One step leaves half of the images right throughout."""
    one_step = [Epoch(1, 1.0, 0.5, 0.9, r, 0.5, 0.1, 1.0, 1.0) for r in robust]
    assert collapses(one_step) == expected
    several = [dataclasses.replace(epoch, validation_one_step=None) for epoch in one_step]
    assert collapses(several) == [False] * 3
    useless = [dataclasses.replace(epoch, validation_one_step=0.2) for epoch in one_step]
    assert not collapses(useless)[0]


def test_fast_training_on_a_step_too_long_collapses_and_says_so(digits: datasets.Dataset) -> None:
    """Catastrophic overfitting, made to happen: a long step at full strength from every start."""
    settings = recipe(7, objective="fgsm", attack_step=2.0, lr=0.2, schedule="constant")
    history = fit(blank(digits), digits, settings, Threat(eps=0.3), "k")
    assert any(found.collapsed for found in history)
    sound = recipe(2, objective="fgsm", batch_size=32)
    history = fit(blank(digits), few(digits), sound, THREAT, "k")
    assert not any(found.collapsed for found in history)
    assert all(found.validation_one_step >= found.validation_robust for found in history)


@pytest.mark.parametrize("compute", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_settings_of_the_run_train_as_well(
    compute: dict[str, object], digits: datasets.Dataset
) -> None:
    settings, data = recipe(2, objective="pgd", attack_steps=1, batch_size=32), few(digits)
    networks = [blank(digits) for _ in range(3)]
    fit(networks[0], data, settings, THREAT, "k")
    for network in networks[1:]:
        fit(network, data, settings, THREAT, "k", compute=Compute(**compute))
    assert same(networks[1], networks[2])
    assert not same(networks[0], networks[1])
    assert networks[1].network.conv.weight.is_contiguous()
    assert all(p.dtype == torch.float32 for p in networks[1].parameters())
    accuracies = [accuracy(network, digits.test) for network in networks[:2]]
    assert accuracies[1] > accuracies[0] - 0.05


# torch's tracer looks at the gradients of awp's perturbed weights, and warns of it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_training_is_a_training(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the back end that runs what was traced as it is: code generation takes minutes."""
    quick = functools.partialmethod(nn.Module.compile, backend="eager")
    monkeypatch.setattr(nn.Module, "compile", quick)
    settings = recipe(1, objective="awp:pgd", attack_steps=2)
    plain, compiled = blank(digits), blank(digits)
    fit(plain, few(digits), settings, THREAT, "k")
    fit(compiled, few(digits), settings, THREAT, "k", compute=Compute(compile=True))
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
    assert compiled._compiled_call_impl is None


def test_augmentation_shifts_and_flips_by_its_generator() -> None:
    images = torch.rand(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    first, again = (
        flip_and_shift(images, torch.Generator().manual_seed(1), pad=2) for _ in range(2)
    )
    assert torch.equal(first, again)
    padded = F.pad(images, (2, 2, 2, 2))
    for image, source in zip(first, padded, strict=True):
        windows = [
            window
            for y in range(5)
            for x in range(5)
            for window in [source[:, y : y + 6, x : x + 6]]
        ]
        assert any(torch.equal(image, w) or torch.equal(image, w.flip(2)) for w in windows)
    assert not torch.equal(first, images)


def test_the_device_of_a_generator_is_the_data_s(digits: datasets.Dataset) -> None:
    step = Step(blank(digits), digits, recipe(), None, Compute(), None, None)
    assert {each.device for each in step.generators.values()} == {digits.train.labels.device}
