"""Attacks and the inner adversary: closed forms, the ball, what they leave behind."""

from __future__ import annotations

import copy

import pytest
import torch
import torchattacks
from torch import nn
from torch.nn import functional as F

from prune_core.attacks import attacks, borrowed, nearest, square
from prune_core.attacks import pgd as adversary
from prune_core.attacks.evaluation import accuracy, attack, evaluate, right
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation

from conftest import CPU, THREAT, dense_stage
from rows import names


class Linear(nn.Module):
    """Two classes, linear in the pixels: the worst image of the ball is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(64, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = images.flatten(1) @ self.weight
        return torch.stack([-logit, logit], 1)


def worst_images(
    network: Linear, images: torch.Tensor, labels: torch.Tensor, threat: Threat
) -> torch.Tensor:
    weight = network.weight.detach()
    step = weight.sign() if threat.norm == "linf" else weight / weight.norm()
    away = (1 - 2 * labels).view(-1, 1) * step
    return (images.flatten(1) + threat.eps * away).clamp(0, 1).view_as(images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "own"])
def test_the_optimum_on_a_linear_network(name: str, norm: str) -> None:
    """Away from the range's edges, where the L2 ball is cut, the worst image is known."""
    network = Linear().eval()
    generator = torch.Generator().manual_seed(0)
    images = 0.3 + 0.4 * torch.rand(32, 1, 8, 8, generator=generator)
    labels = torch.randint(2, (32,), generator=generator)
    threat = Threat(norm=norm, eps=0.1)
    if name == "own":
        found = adversary.ascend(network, images, labels, threat, 20, threat.eps, generator)
    else:
        found = ATTACKS.load(name)(network, images, labels, threat)
    expected = worst_images(network, images, labels, threat)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


ITERATED = [
    "pgd-20",
    "pgd-20-2",
    "fgsm+pgd-20",
    "cw-100",
    "apgd-ce",
    "fab",
    "fmn-100",
    "fgsm+fmn-100",
    "bfloat16:pgd-20",
    "bfloat16:cw-100",
    "bfloat16:apgd-ce",
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ITERATED)
def test_on_a_linear_network_attacks_lose_what_can_be_lost(name: str, norm: str) -> None:
    """The margin over the weights' dual norm says which images can be lost within the radius."""
    network = Linear().eval()
    generator = torch.Generator().manual_seed(0)
    images = 0.3 + 0.4 * torch.rand(64, 1, 8, 8, generator=generator)
    labels = network(images).argmax(1)
    weight = network.weight.detach()
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    distance = (images.flatten(1) @ weight).abs() / dual
    threat = Threat(norm=norm, eps=float(distance.median()))
    with seeded(0, CPU):
        found = attack(network, network, images, labels, name, threat)
    lost = ~right(network, found, labels)
    near = distance < 0.9 * threat.eps
    assert not lost[distance > 1.001 * threat.eps].any()
    assert lost[near].all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", names("attacks"))
def test_invariants(
    name: str,
    norm: str,
    trained: nn.Module,
    digits: datasets.Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearest, "TRIAL_STEPS", 5)
    monkeypatch.setattr(nearest, "STEPS", 20)
    if norm == "l2" and name in ("square", "autoattack", "cw"):
        pytest.skip("square-50 and cw-20 stand for their thousands of passes, of 15 s under l2")
    threat = THREAT if norm == "linf" else Threat(norm="l2", eps=0.8)
    stage = Evaluation(network=dense_stage(), attack=name, threat=threat)
    costly = name in ("autoattack", "square", "fab")  # thousands of passes
    test = digits.test.take(torch.arange(4 if costly else 64))
    # An attack must not leave its mode or statistics behind.
    trained = copy.deepcopy(trained).train()
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    torch.manual_seed(1)
    first = evaluate(trained, test, stage)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = evaluate(trained, test, stage)
    assert trained.training
    trained.eval()
    assert first.correct == second.correct
    assert len(first.correct) == len(test)
    assert first.accuracy == sum(first.correct) / len(test)
    if "unbounded" not in ATTACKS[name].traits:
        clean = Evaluation(network=dense_stage(), attack="clean", threat=None)
        unharmed = evaluate(trained, test, clean).correct
        assert all(u or not c for u, c in zip(unharmed, first.correct, strict=True))
        assert name == "clean" or first.accuracy < sum(unharmed) / len(test)
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global state is not touched


def test_clean_is_plain_accuracy(trained: nn.Module, digits: datasets.Dataset) -> None:
    stage = Evaluation(network=dense_stage(), attack="clean", threat=None)
    assert evaluate(trained, digits.test, stage).accuracy == accuracy(trained, digits.test) > 0.8


def test_attacks_grow_with_steps_and_radius(trained: nn.Module, digits: datasets.Dataset) -> None:
    test = digits.test.take(torch.arange(150))

    def robust(attack: str, eps: float) -> float:
        stage = Evaluation(network=dense_stage(), attack=attack, threat=Threat(eps=eps))
        return evaluate(trained, test, stage).accuracy

    assert accuracy(trained, test) > robust("fgsm", 0.1) >= robust("pgd-20", 0.1)
    assert robust("pgd-20", 0.05) > robust("pgd-20", 0.15) > robust("pgd-20", 1.0)
    assert robust("pgd-20", 1.0) < 0.02


def test_our_adversary_is_as_strong_as_torchattacks(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    images, labels = digits.test.batch(slice(0, 256))
    generator = torch.Generator().manual_seed(0)
    own = adversary.pgd(trained, images, labels, THREAT, 10, generator)
    with seeded(0, CPU):
        theirs = torchattacks.PGD(trained, THREAT.eps, THREAT.eps / 4, 10)(images, labels)
    with torch.no_grad():
        losses = [float(F.cross_entropy(trained(x), labels)) for x in (images, own, theirs)]
    assert losses[1] == pytest.approx(losses[2], rel=0.02)
    assert losses[1] > 2 * losses[0]
    assert float((own - images).abs().max()) <= THREAT.eps + 1e-6
    assert 0 <= float(own.min()) <= float(own.max()) <= 1


class Fixed(adversary.NORMS["linf"].__class__):
    """The norm with a start that is given, to begin where another attack begins."""

    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise

    def start(self, like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return self.noise


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_dropping_lost_images_loses_all_that_torchattacks_loses(
    steps: int, trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same start: what is never wrong on the way is moved just as there."""
    images, labels = digits.test.batch(slice(0, 256))
    size = 2.5 * THREAT.eps / steps
    with seeded(0, CPU):
        theirs = torchattacks.PGD(trained, THREAT.eps, size, steps)(images, labels)
    with seeded(0, CPU):  # its own start, drawn again
        start = torch.empty_like(images).uniform_(-THREAT.eps, THREAT.eps)
    monkeypatch.setitem(adversary.NORMS, "linf", Fixed(start / THREAT.eps))
    whole = adversary.ascend(trained, images, labels, THREAT, steps, size)
    torch.testing.assert_close(whole, theirs, atol=2e-6, rtol=0)
    dropped = adversary.pursue(trained, images, labels, THREAT, steps, size)
    lost, lost_there = (~right(trained, x, labels) for x in (dropped, theirs))
    assert not (lost_there & ~lost).any()
    torch.testing.assert_close(dropped[~lost], theirs[~lost], atol=2e-6, rtol=0)


@pytest.mark.parametrize(("loss", "norm"), [("ce", "linf"), ("ce", "l2"), ("dlr", "linf")])
def test_apgd_loses_what_it_loses_on_the_whole_batch(
    loss: str, norm: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    """Dropped or not, an image is lost at the same step from the same start.

    In double precision: rounding, which differs with the size of a batch, parts the ways of images
    within a hundred steps of a sign.
    """
    trained = copy.deepcopy(trained).double()
    images, labels = digits.test.batch(slice(0, 40))
    images = images.double()
    alive = right(trained, images, labels)
    images, labels = images[alive], labels[alive]
    threat = Threat(norm=norm, eps=0.1 if norm == "linf" else 0.6)
    plain = torchattacks.APGD(
        trained, {"linf": "Linf", "l2": "L2"}[norm], threat.eps, 100, seed=5, loss=loss
    )
    passes: list[int] = []
    hook = trained.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    whole = right(trained, plain(images, labels), labels)
    seen, passes[:] = sum(passes), []
    with pytest.MonkeyPatch.context() as patch, seeded(0, CPU):
        patch.setattr("prune_core.attacks.borrowed.drawn_seed", lambda: 5)
        patch.setattr("prune_core.attacks.early_exit.BLOCK", 8)
        found = ATTACKS.load(f"apgd-{loss}")(trained, images, labels, threat)
    hook.remove()
    dropped = right(trained, found, labels)
    assert torch.equal(whole, dropped)
    assert 0.1 < float(dropped.float().mean()) < 0.9
    assert sum(passes) < 0.95 * seen
    lengths = adversary.NORMS[norm].length(found - images)
    assert float(lengths.max()) <= threat.eps * (1 + 1e-5)


def test_the_margin_is_that_of_the_best_wrong_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [1.0, 2.0, 9.0]])
    assert float(adversary.margin(logits, torch.tensor([0, 2, 2]))) == -1.0 + 0.0 - 7.0


def test_restarts_and_cascades_only_go_on_with_what_is_right(
    trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits.test.batch(slice(0, 128))
    seen: list[int] = []
    plain = adversary.pursue

    def noting(network, images, *rest, **how):
        seen.append(len(images))
        return plain(network, images, *rest, **how)

    monkeypatch.setattr("prune_core.attacks.attacks.pursue", noting)
    outcomes = {}
    for name in ("pgd-5", "pgd-5-4", "fgsm", "fgsm+pgd-5", "fgsm+pgd-5+cw"):
        with seeded(0, CPU):
            found = attack(trained, trained, images, labels, name, THREAT)
        outcomes[name] = right(trained, found, labels)
    clean = int(right(trained, images, labels).sum())
    left = {name: int(of.sum()) for name, of in outcomes.items()}
    assert seen[:2] == [clean, clean]  # pgd-5, and the first of the restarts
    assert seen[1:5] == sorted(seen[1:5], reverse=True)
    assert seen[4] < seen[1]
    assert seen[5] == left["fgsm"]
    assert left["pgd-5-4"] <= left["pgd-5"]
    assert left["fgsm+pgd-5+cw"] <= left["fgsm+pgd-5"] <= left["fgsm"]


def test_autoattack_is_the_worst_of_its_parts_at_its_authors_settings(
    trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `AutoAttack(version="standard")` of fra31/auto-attack sets them."""
    made: dict[str, dict[str, object]] = {}
    for place, part in ((torchattacks, "APGD"), (borrowed, "TargetedApgd"), (torchattacks, "FAB")):
        kind = getattr(place, part)

        def note(*given, kind=kind, **how):
            made[kind.__name__] = vars(kind(*given, **how))
            return lambda images, labels: images

        monkeypatch.setattr(place, part, note)

    def searched(network, images, labels, threat, queries, **how):
        made["Square"] = {"queries": queries, **how}
        return images

    monkeypatch.setattr(attacks, "random_search", searched)
    images, labels = digits.test.batch(slice(0, 8))
    with seeded(0, CPU):
        attack(trained, trained, images, labels, "autoattack", THREAT)
    assert list(made) == ["APGD", "TargetedApgd", "FAB", "Square"]
    assert [made[n]["steps"] for n in ("APGD", "TargetedApgd", "FAB")] == [100, 100, 100]
    assert (made["APGD"]["loss"], made["APGD"]["n_restarts"]) == ("ce", 1)
    assert made["TargetedApgd"]["n_restarts"] == made["FAB"]["n_target_classes"] == 9
    assert made["FAB"]["multi_targeted"]
    assert made["Square"] == {"queries": 5000, "stretched": False}
    assert square.FIRST_SHARE == 0.8


def test_attacks_that_rank_classes_need_enough_of_them() -> None:
    images = torch.rand(4, 1, 8, 8)
    labels = torch.zeros(4, dtype=torch.long)
    for name, least in (("apgd-dlr", 3), ("autoattack", 4)):
        with pytest.raises(ValueError, match=f"needs at least {least} classes; there are 2"):
            ATTACKS.load(name)(Linear().eval(), images, labels, THREAT)
