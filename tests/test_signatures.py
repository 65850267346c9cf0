"""Signatures of a user's own methods, held against how they are called, when a plan is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.cli.checks import _load_faults
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.errors import DeclarationError
from prune_core.specs.definitions import definition
from prune_core.specs.reading import Source
from prune_core.specs.registry import AXES
from prune_core.specs.signatures import CALLS, signature_fault

from conftest import sweep_text
from rows import names

HEAD = "import functools\nfrom mrsweep import method\n"


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "own_signed.py").write_text(HEAD + text)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_signed", None)


@pytest.mark.parametrize("axis", sorted(CALLS))
def test_methods_that_ship_fit(axis: str) -> None:
    for name in names(axis):
        found = AXES[axis][name]
        module, _, function = found.origin.partition(":")
        source = Source.of(module)
        assert source is not None
        given = AXES[axis].arguments(name)
        fault = signature_fault(axis, definition(source, function), found.needs, given)
        assert fault is None


@pytest.mark.parametrize(
    ("axis", "text", "fault"),
    [
        ("schedules", "def f(progress): return 1", r"\(progress, training\), and it takes \(prog"),
        ("schedules", "f = lambda progress: 1", r"f is called with \(progress, training\)"),
        ("criteria", "def f(layer, network): return 1", r"takes \(layer, network\)"),
        ("criteria", "def f(*, layer): return 1", r"takes \(\*, layer\)"),
        ("allocations", "def f(evidence): return {}", r"called with \(evidence, dial\)"),
        ("architectures", "def f(classes): return 1", r"called with \(shape, classes\)"),
        ("architectures", "class f:\n  def __init__(self, shape): pass", r"f\.__init__ is called"),
        ("objectives", "def f(network, images, labels): return 1", "labels, context"),
        ("objectives", "class f:\n  def __call__(self, network): pass", r"f\.__call__ is called"),
        ("attacks", "def f(network, images, labels): return images", "labels, threat"),
        ("policies", "def f(network, start, rate): return 1", "takes"),
        ("datasets", "def f(): return 1", r"called with \(spec\)"),
        (
            "attacks",
            "@method('x', needs=())\ndef f(n, images, labels, ball): return images + ball.eps",
            r'f reads threat\.eps, so it must say needs=\("threat",\)',
        ),
        (
            "objectives",
            "@method('x')\ndef f(net, x, y, c): return c.attack(net, x, y).sum(), x",
            r'reads context\.attack, so it must say needs=\("threat",\)',
        ),
        ("criteria", "@method('x')\ndef f(layer): return layer.gradient", '"gradients"'),
        ("criteria", "def f(layer): return layer.maps", r'layer\.maps, .*needs=\("maps",\)'),
        ("allocations", "def f(evidence, dial): return evidence.scores", r'needs=\("scores",\)'),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    axis: str, text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, monkeypatch, text)
    with pytest.raises(DeclarationError, match=rf"'own_signed:f': .*own_signed\.py:\d+: .*{fault}"):
        _ = AXES[axis]["own_signed:f"]


@pytest.mark.parametrize(
    ("axis", "text"),
    [
        ("schedules", "def f(p, training, sharp=2.0): return 1"),
        ("schedules", "def f(*given): return 1"),
        ("schedules", "f = lambda p, t, /: 1"),
        ("criteria", "class f:\n  def __call__(self, layer): return layer.gradient"),
        ("criteria", "class Base: pass\nclass f(Base): pass"),
        ("criteria", "def given(g): return lambda x: g(1, x)\n@given\ndef f(a, b): return 1"),
        ("criteria", "def g(power, layer): return 1\nf = functools.partial(g, 2)"),
        ("attacks", "def f(network, images, labels, threat): return images + threat.eps"),
        ("attacks", "@method('x')\ndef f(n, images, labels, threat): return images + threat.eps"),
        ("attacks", "@method('x', needs=())\ndef f(n, images, labels, threat): return images"),
    ],
)
def test_what_fits_or_cannot_be_known_is_taken(
    axis: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, monkeypatch, text)
    assert AXES[axis]["own_signed:f"].origin == "own_signed:f"


def test_an_own_attack_gets_the_threat_unless_it_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = "(network, images, labels, threat): return images\n"
    says = {"plain": "", "declared": "@method('d')\n", "no": "@method('n', needs=())\n"}
    own(tmp_path, monkeypatch, "\n".join(f"{says[name]}def {name}{attack}" for name in says))
    needs = {name: AXES["attacks"][f"own_signed:{name}"].needs for name in says}
    assert needs == {"plain": ("threat",), "declared": ("threat",), "no": ()}


def test_all_that_does_not_fit_is_named_together_when_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, monkeypatch, "def a(x, y): return 1\ndef b(evidence): return {}\n")
    text = sweep_text(criteria="['own_signed:a']", allocations="['own_signed:b']")
    with pytest.raises(SweepFileError, match=r"(?s)py:3: a is called.*py:4: b is called"):
        parse_sweep(text)


def test_what_a_call_gives_is_tried_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, monkeypatch, "def g(power): return 1\nf = functools.partial(g, 2)\n")
    (fault,) = _load_faults(parse_sweep(sweep_text(criteria="['own_signed:f']")))
    assert fault == (
        "criterion 'own_signed:f' is called with (layer): too many positional arguments"
    )
