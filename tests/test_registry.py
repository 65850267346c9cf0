"""The axes: complete rows, clear errors, methods from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prune_core.errors import UnknownMethodError
from prune_core.specs.registry import ATTACKS, AXES, CRITERIA, GRANULARITIES, Axis

from rows import ROWS, names


@pytest.mark.parametrize("axis", sorted(AXES))
def test_every_method_has_a_row(axis: str) -> None:
    assert set(AXES[axis].methods) == set(ROWS[axis])


@pytest.mark.parametrize("axis", sorted(AXES))
def test_every_method_loads_and_says_what_it_is(axis: str) -> None:
    for name in names(axis):
        assert callable(AXES[axis].load(name))
        assert AXES[axis][name].summary.partition(":")[0], name
    for name, entry in AXES[axis].methods.items():
        assert entry.summary.endswith("."), name


def test_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(
        UnknownMethodError, match=r"'tailor'; did you mean 'taylor'\? known: adv-fisher, adv-snip"
    ):
        CRITERIA["tailor"]


def test_a_method_from_outside_is_found_with_its_needs_and_a_digest() -> None:
    plain, declared = CRITERIA["outside:smallest_first"], CRITERIA["outside:signed"]
    assert (plain.summary, plain.needs) == ("The largest absolute weight.", ("gradients",))
    assert (declared.needs, declared.traits) == (("gradients",), ("comparable",))
    assert len(plain.digest) == 12
    assert CRITERIA.load("outside:signed").__name__ == "signed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at.all:f", "no module 'nowhere.at.all'"),
        ("outside:missing", "has no function 'missing'; it has: smallest_first"),
    ],
)
def test_a_method_from_outside_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UnknownMethodError, match=message):
        CRITERIA[name]


def module(path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(path))
    sys.modules.pop(name, None)


def test_an_edited_method_is_a_new_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, monkeypatch, "mine", "def f(layer):\n    return 1\n")
    before = CRITERIA["mine:f"].digest
    (tmp_path / "mine.py").write_text("def f(layer):\n    return 2\n")
    assert CRITERIA["mine:f"].digest != before


def test_a_method_registered_through_an_entry_point_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mrsweep.criteria]\nlargest = plugin_scores:f\n")
    text = 'def f(layer):\n    "The largest weight."\n    return layer.weight.amax(1)\n'
    module(tmp_path, monkeypatch, "plugin_scores", text)
    found = Axis("criterion", "prune_core.pruning.criteria")["largest"]
    assert (found.origin, found.summary) == ("plugin_scores:f", "The largest weight.")
    assert found.digest


def test_a_name_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "@method('a')\ndef f(): pass\n@method('a')\ndef g(): pass\n"
    module(tmp_path, monkeypatch, "twice", text)
    with pytest.raises(ValueError, match="declares twice: a"):
        _ = Axis("thing", "twice").methods


@pytest.mark.parametrize(
    ("axis", "name", "method", "arguments"),
    [
        (ATTACKS, "pgd-20", "pgd-<k>", {"k": 20}),
        (ATTACKS, "fgsm", "fgsm", {}),
        (GRANULARITIES, "2:4", "<n>:<m>", {"n": 2, "m": 4}),
        (AXES["architectures"], "timm:resnetv2_50", "timm:<name>", {"name": "resnetv2_50"}),
    ],
)
def test_names_with_placeholders(
    axis: Axis, name: str, method: str, arguments: dict[str, object]
) -> None:
    assert axis[name].name == method
    assert axis.arguments(name) == arguments
    assert callable(axis.load(name))


@pytest.mark.parametrize("name", ["pgd", "pgd-<k>", "pgd-0", "fgsm-3", "nothing", "pgd-2x"])
def test_names_that_fill_no_placeholder_are_refused(name: str) -> None:
    with pytest.raises(UnknownMethodError):
        _ = ATTACKS[name]
