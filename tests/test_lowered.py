"""Attacks in bfloat16: as strong as in float32, for what they cannot decide is attacked in it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from test_sanity import STAGE
from torch import Tensor, nn

from orchestrator.planning.plan import make_plan
from orchestrator.planning.work import attack_passes
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.sweepfile.reading import SweepFileError
from prune_core.attacks import sanity
from prune_core.attacks.evaluation import attack, right
from prune_core.attacks.kernels import tf32
from prune_core.attacks.lowered import BFLOAT16, TF32, attacked_in
from prune_core.attacks.pgd import pursue
from prune_core.attacks.square import search
from prune_core.data import datasets
from prune_core.models.folding import Twin
from prune_core.models.state import seeded
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat

from conftest import CPU, THREAT, run_sweep, sweep_text
from test_launch import trials

IMAGES = slice(0, 256)
OWN = """
def shift(network, images, labels, threat):
    return (images + threat.eps).clamp(0, 1)
"""


class Far(nn.Module):
    """All logits lie so far from zero that bfloat16 has one number for them."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) + 8192


def left(network: nn.Module, data: datasets.Dataset, name: str, threat: Threat = THREAT) -> Tensor:
    """Which images [n] an attack leaves right, by the network itself."""
    images, labels = data.test.batch(IMAGES)
    with seeded(0, CPU):
        found = attack(network, Twin(network), images, labels, name, threat)
    return right(network, found, labels)


@pytest.mark.parametrize("name", ["fgsm", "pgd-20", "cw-20", "apgd-ce", "fgsm+pgd-20"])
def test_as_few_images_are_left(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    threat = Threat(eps=0.08)
    whole, lowered = (left(trained, digits, n, threat) for n in (name, f"bfloat16:{name}"))
    assert 0.1 < float(whole.float().mean()) < 0.9
    assert abs(int(lowered.sum()) - int(whole.sum())) <= 3  # other starts alone differ by as many


@pytest.mark.parametrize("name", ["fgsm", "pgd-10", "cw-20"])
def test_what_bfloat16_cannot_tell_is_attacked_in_float32(
    name: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    """In it all classes tie: an attack moves nothing, and gives up all images but one class's."""
    far = Far(trained).eval()
    with torch.no_grad():
        coarse = Twin(far).in_bfloat16()(digits.test.batch(IMAGES)[0])
    assert (coarse == coarse[:, :1]).all()
    whole, lowered = (left(far, digits, each) for each in (name, f"bfloat16:{name}"))
    assert int(lowered.sum()) <= int(whole.sum()) + 3
    assert int(whole.sum()) < 0.9 * len(whole)


def test_passes_are_in_bfloat16_and_those_in_float32_are_few(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    images, labels = digits.test.batch(IMAGES)
    images, labels = (each[right(trained, images, labels)] for each in (images, labels))
    asked: list[tuple[nn.Module, int]] = []

    def noting(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        asked.append((network, len(images)))
        return pursue(network, images, labels, threat, 20, threat.eps / 8)

    twin = Twin(trained)
    attacked_in(BFLOAT16, noting, twin, images, labels, Threat(eps=0.08))
    (first, whole), (second, few) = asked
    assert next(first.parameters()).dtype == torch.bfloat16
    assert (second, whole) == (twin, len(images))
    assert few < len(images) / 10


def test_tf32_is_allowed_while_an_attack_computes_in_it(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    images, labels = digits.test.batch(IMAGES)
    images, labels = (each[right(trained, images, labels)] for each in (images, labels))
    before, seen = [kind.allow_tf32 for kind in kinds], list[tuple[bool, ...]]()

    def noting(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        del network, labels, threat
        seen.append(tuple(kind.allow_tf32 for kind in kinds))
        return images

    far = Far(Far(trained)).eval()  # so far that TF32 could not tell classes apart either
    attacked_in(TF32, noting, far, images, labels, THREAT)
    assert seen == [(True, True), tuple(before)]
    assert [kind.allow_tf32 for kind in kinds] == before


def test_square_compares_in_float32(trained: nn.Module, digits: datasets.Dataset) -> None:
    """In AutoAttack too, of which the rest computes in TF32."""
    seen: list[bool] = []

    class Noting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return trained(images)

    images, labels = digits.test.batch(slice(0, 4))
    with seeded(0, CPU), tf32(allowed=True):
        search(Noting(), images, labels, Threat(eps=0.01), 5)
        assert torch.backends.cudnn.allow_tf32
    assert seen
    assert not any(seen)


def test_a_twin_has_one_copy_until_it_changes(trained: nn.Module) -> None:
    twin, images = Twin(trained), torch.rand(4, 1, 8, 8)
    lowered = twin.in_bfloat16()
    assert twin.in_bfloat16() is lowered
    assert set(twin.state_dict()) == set(Twin(trained).state_dict())
    with torch.no_grad():
        torch.testing.assert_close(lowered(images), trained(images), atol=0.3, rtol=0.1)
    twin.refresh(copy.deepcopy(trained))
    assert twin.in_bfloat16() is not lowered


def test_a_network_is_checked_where_a_sweep_attacks_in_it(
    trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = STAGE.model_copy(update={"told": ("bfloat16:cw-20",)})
    told = {"bfloat16:cw-20": [True] * len(digits.test)}
    (found,) = (
        each
        for each in sanity.check(trained, trained, digits.test, lowered, told)
        if each.check == "precision"
    )
    assert (found.passed, found.stronger, found.weaker) == (True, "bfloat16:pgd-20", "pgd-20")
    plain = sanity.attack

    def weak(network, twin, images, labels, name, threat):
        if name.startswith("bfloat16"):
            return images
        return plain(network, twin, images, labels, name, threat)

    monkeypatch.setattr(sanity, "attack", weak)
    failed = [
        each.check
        for each in sanity.check(trained, trained, digits.test, lowered, told)
        if not each.passed
    ]
    assert failed == ["precision"]


def test_what_was_attacked_in_it_is_told_to_the_checks() -> None:
    def checks(attacks: str):
        plan = make_plan(parse_sweep(sweep_text(evaluation=f"{{attacks: {attacks}}}")))
        return next(iter(plan.trials.values())).stage.sanity

    assert checks("[fgsm]").told == ("fgsm",)
    assert checks("[pgd-20, 'tf32:pgd-5', fgsm]").told == ("fgsm", "pgd-20", "tf32:pgd-5")
    assert checks("['bfloat16:fgsm']").key != checks("['bfloat16:pgd-20']").key


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bfloat16:clean", "clean attacks nothing"),
        ("tf32:clean", "clean attacks nothing"),
        ("bfloat16:square", "square computes in float32 in any case"),
        ("tf32:square-500", "square-500 computes in float32 in any case"),
        ("bfloat16:autoattack", "autoattack decides by differences of margins"),
        ("bfloat16:fab", "fab decides by differences of margins"),
        ("bfloat16:tf32:pgd-5", "tf32:pgd-5 says its precision already"),
        ("tf32:fmn-20", "fmn-20 ends where two classes meet"),
        ("bfloat16:own_attack:shift", "own_attack:shift is your own"),
        ("bfloat16:corruption-fog-3", "corruption-fog-3 attacks nothing"),
        ("bfloat16:fmn-20", "fmn-20 ends where two classes meet"),
        ("pgd-5+bfloat16:fmn-20", "fmn-20 ends where two classes meet"),
        ("bfloat16:pgd-5+bfloat16:clean", "clean attacks nothing"),
    ],
)
def test_what_it_cannot_do_is_refused(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_attack.py").write_text(OWN)
    with pytest.raises(SweepFileError, match=f"attack '{name.replace('+', '.')}': {why}"):
        make_plan(parse_sweep(sweep_text(evaluation=f"{{attacks: ['{name}']}}")))


def test_a_name_says_what_computes_in_it() -> None:
    """It is the narrower of the two: of ``bfloat16:A+B``, A alone."""
    assert ATTACKS.arguments("bfloat16:pgd-5+square") == {
        "attack": "bfloat16:pgd-5",
        "then": "square",
    }
    assert attack_passes("bfloat16:pgd-20") == attack_passes("pgd-20")
    assert {"threat", "classes:4"} <= set(ATTACKS["tf32:autoattack"].needs)
    make_plan(parse_sweep(sweep_text(evaluation="{attacks: ['tf32:autoattack']}")))


def test_a_sweep(tmp_path: Path) -> None:
    run_sweep(
        sweep_text(evaluation="{attacks: ['bfloat16:pgd-5'], sanity_images: 32}"), tmp_path / "root"
    )
    found = trials(tmp_path / "root")
    assert set(found.status) == {"done"}
    assert found.finetuned_bfloat16_pgd_5.between(0, found.finetuned_clean).all()
