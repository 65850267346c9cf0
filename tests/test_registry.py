"""The axes: complete rows, clear errors, methods from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.errors import DeclarationError, UnknownMethodError
from prune_core.specs.registry import (
    ATTACKS,
    AXES,
    CRITERIA,
    GRANULARITIES,
    OBJECTIVES,
    Axis,
    digests,
)  # fmt: skip

from conftest import sweep_text
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
        UnknownMethodError, match=r"'tailor'; did you mean 'taylor'\? known: adv-<criterion>, apoz"
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


def test_a_trial_measured_by_an_edited_attack_is_a_new_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relaunch would take the numbers of the old attack for those of the new one."""
    text = "def f(network, images, labels, threat):\n    return images\n"
    module(tmp_path, monkeypatch, "mine", text)
    sweep = parse_sweep(sweep_text(evaluation="{attacks: ['mine:f'], sanity_images: 0}"))
    before = make_plan(sweep).trials
    (tmp_path / "mine.py").write_text(text.replace("images\n", "images + 0\n"))
    assert not set(before) & set(make_plan(sweep).trials)


def test_a_method_registered_through_an_entry_point_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mrsweep.criteria]\nlargest = plugin_scores:f\n")
    text = 'def f(layer):\n    "The largest weight."\n    return layer.weight.amax(1)\n'
    module(tmp_path, monkeypatch, "plugin_scores", text)
    found = Axis("criterion", "prune_core.pruning.scores.criteria")["largest"]
    assert (found.origin, found.summary) == ("plugin_scores:f", "The largest weight.")
    assert found.digest


def test_a_name_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = IMPORT + "@method('a')\ndef f(): pass\n@method('a')\ndef g(): pass\n"
    module(tmp_path, monkeypatch, "twice", text)
    with pytest.raises(DeclarationError, match="declares twice: a"):
        _ = Axis("thing", "twice").methods


IMPORT = "from prune_core.specs.registry import method\n"
LINE = 'def f(layer):\n    "The largest weight."\n'
UNREADABLE = {
    "an alias": "from prune_core.specs.registry import method as m\n@m('x')\n" + LINE,
    "an alias of the front door's": "from mrsweep import method as m\n@m('x')\n" + LINE,
    "a new name": IMPORT + "m = method\n@m('x')\n" + LINE,
    "an attribute": "from prune_core.specs import registry\n@registry.method('x')\n" + LINE,
    "a dotted name": "import prune_core.specs.registry\n@prune_core.specs.registry.method('x')\n"
    + LINE,
    "a module's alias": "import prune_core.specs.registry as r\n@r.method('x')\n" + LINE,
    "no arguments": IMPORT + "@method\n" + LINE,
    "no name": IMPORT + "@method()\n" + LINE,
    "two names": IMPORT + "@method('x', 'y')\n" + LINE,
    "a name that is no literal": IMPORT + "NAME = 'x'\n@method(NAME)\n" + LINE,
    "a name that is no text": IMPORT + "@method(3)\n" + LINE,
    "needs that are no literal": IMPORT + "@method('x', needs=NEEDS)\n" + LINE,
    "needs that are a text": IMPORT + "@method('x', needs=('gradients'))\n" + LINE,
    "a setting among the needs": IMPORT + "@method('x', needs=('beta=6.0',))\n" + LINE,
    "settings that are computed": IMPORT + "@method('x', settings={'eps': 8 / 255})\n" + LINE,
    "a wrong keyword": IMPORT + "@method('x', need=('gradients',))\n" + LINE,
    "keywords from elsewhere": IMPORT + "@method('x', **MORE)\n" + LINE,
    "a revision that is a text": IMPORT + "@method('x', revision='2')\n" + LINE,
    "a first revision": IMPORT + "@method('x', revision=1)\n" + LINE,
    "an async function": IMPORT + "@method('x')\nasync " + LINE,
    "a class under if": IMPORT + "if True:\n  @method('x')\n  class f: pass\n",
    "a function under if": IMPORT + "if True:\n  @method('x')\n  def f(layer): pass\n",
    "a function in a function": IMPORT + "def g():\n  @method('x')\n  def f(layer): pass\n",
    "a method of a class": IMPORT + "class g:\n  @method('x')\n  def f(layer): pass\n",
    "no Python": IMPORT + "@method('x'\n" + LINE,
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_declaration_that_cannot_be_read_is_refused_with_its_place(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = UNREADABLE[what] + "\n\ndef other(layer):\n    return 1\n"
    module(tmp_path, monkeypatch, "unreadable", text)
    marked = [n for n, line in enumerate(text.splitlines(), start=1) if line.strip()[0:1] == "@"]
    place = rf"unreadable\.py:{marked[0]}: "
    with pytest.raises(DeclarationError, match=place) as refused:
        _ = Axis("thing", "unreadable").methods
    assert what == "no Python" or "literals" in str(refused.value)
    with pytest.raises(DeclarationError, match=place):  # as a user's own module
        _ = CRITERIA["unreadable:other"]


def test_a_sweep_file_s_faults_name_a_declaration_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path, monkeypatch, "unreadable", UNREADABLE["an alias"])
    with pytest.raises(SweepFileError, match=r"unreadable\.py:2: 'm' is the decorator 'method' by"):
        parse_sweep(sweep_text(criteria="['unreadable:f']"))


def test_a_revision_is_part_of_the_keys_of_what_uses_the_method_and_of_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = IMPORT + "@method('x')\n" + LINE + "\n\n@method('y', revision=3)\ndef g(layer): pass\n"
    module(tmp_path, monkeypatch, "revised", text)
    assert [method.digest for method in Axis("thing", "revised").methods.values()] == [None, "r3"]
    assert digests(objectives="trades", policies="scratch", criteria="l1") == {
        "objectives": "r2", "policies": "r2",
    }  # fmt: skip
    assert digests(objectives="awp:trades") == {"objectives": "r2+r2"}
    assert digests(objectives="pgd", policies="finetune") == {}


@pytest.mark.parametrize("place", ["prune_core.specs.registry", "mrsweep"])
def test_what_a_declaration_says(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""
from {place} import method
from functools import cache

@cache
@method(
    "mine", source="me", needs=("threat",), traits=("slow",),
    settings={{"beta": 2.0, "milestones": (0.5,)}}, fixed={{"attack_steps": 1}},
)
def f(network):
    '''A loss.

    And more.
    '''

@cache
def plain(method):
    return method.name
"""
    module(tmp_path, monkeypatch, "readable", text)
    found = OBJECTIVES["readable:f"]
    assert (found.summary, found.source, found.traits) == ("A loss.", "me", ("slow",))
    assert (found.needs, found.fixed) == (("threat",), {"attack_steps": 1})
    assert found.settings == {"beta": 2.0, "milestones": (0.5,)}
    assert found.reads == ["threat", "attack_steps==1", "beta=2.0", "milestones=(0.5,)"]
    assert list(Axis("thing", "readable").methods) == ["mine"]
    assert OBJECTIVES["readable:plain"].needs == OBJECTIVES.defaults


def test_a_wrapper_s_settings_come_before_those_of_what_it_wraps() -> None:
    found = OBJECTIVES["awp:distill:fgsm"]
    assert found.needs == ("teacher", "threat")
    assert found.settings == {
        "awp_gamma": 0.01, "awp_warmup": 0.0, "distill_weight": 0.9, "temperature": 4.0,
        "attack_step": 1.25, "attack_mode": "train", "label_smoothing": 0.0,
    }  # fmt: skip
    assert found.fixed == {"attack_steps": 1}


@pytest.mark.parametrize(
    ("name", "gamma", "warmup"),
    [
        ("awp:pgd", 0.01, 0),  # as in the authors' AT_AWP/train_cifar10.py
        ("awp:trades", 0.005, 0.045),  # trades_AWP/train_trades_cifar.py: 9 of 200 epochs
        ("awp:distill:trades", 0.005, 0.045),
    ],
)
def test_awp_is_of_the_size_that_its_authors_give_it_by_objective(
    name: str, gamma: float, warmup: float
) -> None:
    found = OBJECTIVES[name].settings
    assert (found["awp_gamma"], found["awp_warmup"]) == (gamma, warmup)
    assert "awp_gamma" not in OBJECTIVES["distill:trades"].settings


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
