"""Training: resuming to the bit, independence of global state, divergence, what PGD buys."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_core import adversary, datasets, training
from prune_core.evaluation import evaluate
from prune_core.objectives import Context
from prune_core.registry import OBJECTIVES, POLICIES
from prune_core.stages import Evaluation
from prune_core.training import Checkpoint, DivergedError, fit, flip_and_shift

from conftest import CPU, THREAT, blank, dense_stage
from rows import names


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("objective", names("objectives"))
@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_training_ends_bit_for_bit_the_same(
    objective: str, stop_after: int, digits: datasets.Dataset
) -> None:
    stage = dense_stage(objective, epochs=3)
    whole = blank(digits)
    history = fit(whole, digits, stage.training, stage.threat, stage.key)

    class Killed(BaseException):
        pass

    kept: list[Checkpoint] = []

    def stop(checkpoint: Checkpoint) -> None:
        kept.append(checkpoint)
        if len(kept) == stop_after:
            raise Killed

    with pytest.raises(Killed):
        fit(blank(digits), digits, stage.training, stage.threat, stage.key, on_epoch=stop)
    torch.manual_seed(12345)  # another process, with another global state
    stored = Checkpoint.of(kept[-1].tensors, kept[-1].facts())
    resumed = blank(digits, seed=7)  # its own weights are overwritten
    later = fit(resumed, digits, stage.training, stage.threat, stage.key, stored)
    assert same(whole, resumed)
    assert [e.loss for e in later] == [e.loss for e in history]
    assert later[:stop_after] == kept[-1].history


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
    for objective in ("standard", "pgd"):
        stage = dense_stage(objective, epochs=6)
        network = blank(digits)
        fit(network, digits, stage.training, stage.threat, stage.key)
        attack = Evaluation(network=stage, attack="pgd-20", threat=THREAT)
        robust[objective] = evaluate(network, digits.test, attack).accuracy
    assert robust["pgd"] > robust["standard"] + 0.15


@pytest.mark.parametrize("name", names("objectives"))
def test_objectives_against_their_formula(
    name: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    images, labels = digits.train.batch(slice(0, 64))
    network = copy.deepcopy(trained).train()
    reference = copy.deepcopy(network)
    context = Context(THREAT, 3, torch.Generator().manual_seed(4))
    loss, logits = OBJECTIVES.load(name)(network, images, labels, context)
    if name == "pgd":
        start = torch.Generator().manual_seed(4)
        images = adversary.pgd(reference, images, labels, THREAT, 3, start)
    expected = reference(images)
    slow = -expected.log_softmax(1)[range(64), labels].mean()
    torch.testing.assert_close(loss, slow)
    torch.testing.assert_close(logits, expected)
    # BatchNorm's statistics saw the training batch once, and no step of the attack.
    assert int(network.network.bn.num_batches_tracked) == int(
        reference.network.bn.num_batches_tracked
    )
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_an_adversarial_objective_without_a_threat_is_an_error(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    images, labels = digits.train.batch(slice(0, 4))
    with pytest.raises(ValueError, match="needs a threat"):
        OBJECTIVES.load("pgd")(trained, images, labels, Context(None, None, torch.Generator()))


@pytest.mark.parametrize("name", names("policies"))
def test_policies(name: str, trained: nn.Module) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (copy.deepcopy(trained) for _ in range(3))
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        POLICIES.load(name)(network, seed)
    assert same(first, second)
    assert same(first, trained) == (name != "scratch")
    assert same(first, other) == (name != "scratch")
    assert torch.equal(torch.random.get_rng_state(), state)
    if name == "scratch":
        changed = [
            not torch.equal(a, b)
            for (n, a), (_, b) in zip(
                first.state_dict().items(), trained.state_dict().items(), strict=True
            )
            if "normalise" not in n
        ]
        assert all(changed)


@pytest.mark.parametrize(("schedule", "expected"), [("constant", [1, 1]), ("cosine", [0.5, 0])])
def test_learning_rates(schedule: str, expected: list[float], digits: datasets.Dataset) -> None:
    recipe = dense_stage(epochs=2).training.model_copy(update={"schedule": schedule, "lr": 0.02})
    history = fit(blank(digits), digits, recipe, None, "k")
    assert [epoch.lr / 0.02 for epoch in history] == pytest.approx(expected, abs=1e-9)


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
    assert training._generator(CPU, "k", 1, "order").device == digits.train.labels.device
