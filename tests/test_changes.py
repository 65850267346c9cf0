"""Changes of a sweep file by the command: what is set, what stays, and what is refused."""

from __future__ import annotations

import pytest

from orchestrator.errors import RequestError
from orchestrator.sweepfile.changes import with_changes
from prune_core.specs.plain_yaml import read_yaml

TEXT = """\
# what it is for
name: mine
dataset: digits   # small
criteria:
  - l1
  - l2
# of levels
finetuning:
  none: {epochs: 0}
  pgd: &pgd {objective: pgd, epochs: 2, lr: 0.1}
  more: {<<: *pgd, epochs: 4}
  flow: {objective: pgd, epochs: 2, lr: 0.1}
  same: *pgd
  a.b:
    epochs: 1  # one
    lr: 0.2
sparsities:
- 0.5
- 0.8
threat: {}
seeds:
"""


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("name=other", "name", "other"),
        ("seeds=5", "seeds", 5),
        ("seeds=[1, 2]", "seeds", [1, 2]),
        ("criteria=[l1, 'outside:mine']", "criteria", ["l1", "outside:mine"]),
        ("dataset={name: digits, per_class: 40}", "dataset", {"name": "digits", "per_class": 40}),
        ("threat.eps=4/255", "threat/eps", "4/255"),
        ("finetuning.none={epochs: 1}", "finetuning/none", {"epochs": 1}),
        ("finetuning.flow.lr=1e-2", "finetuning/flow/lr", "1e-2"),
        ("finetuning.flow.beta=3", "finetuning/flow/beta", 3),
        ("finetuning.more.lr=0.3", "finetuning/more/lr", 0.3),
        ("finetuning.a.b.epochs=7", "finetuning/a.b/epochs", 7),
        ("finetuning.a.b.objective=awp:pgd", "finetuning/a.b/objective", "awp:pgd"),
        ("finetuning.a.b={epochs: 3}", "finetuning/a.b", {"epochs": 3}),
        ("pruning.calibration.samples=64", "pruning/calibration/samples", 64),
        ("sparsities=[0.3]", "sparsities", [0.3]),
        ("sparsities=0.3", "sparsities", 0.3),
        ("granularities=[2:4]", "granularities", ["2:4"]),
    ],
)
def test_one_setting_is_changed_and_all_else_stays(change: str, path: str, value: object) -> None:
    after = with_changes(TEXT, [change])
    assert after.endswith(f"# Changed by the command: {change}\n")
    for comment in ("# what it is for", "# of levels"):
        assert comment in after
    *outer, last = path.split("/")
    expected = inner = read_yaml(TEXT).data
    for name in outer:
        inner = inner.setdefault(name, {})
    inner[last] = value
    assert read_yaml(after).data == expected


def test_changes_add_up() -> None:
    after = with_changes(TEXT, ["threat.eps=0.1", "threat.norm=l2", "threat.eps=0.2"])
    assert read_yaml(after).data["threat"] == {"eps": 0.2, "norm": "l2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seeds", "write key=value"),
        ("=5", "write key=value"),
        ("seeds=", "write key=value"),
        ("seeds=[1", "no YAML"),
        ("seeds=2020-01-01", "a date"),
        ("dataset.per_class=4", "dataset is no mapping"),
        ("criteria.0=l2", "criteria is no mapping"),
        ("finetuning.same.lr=0.3", "is an alias"),
        ("finetuning.same={epochs: 0}", "is an alias"),
        ("finetuning.pgd={epochs: 0}", "edit the file itself"),
        ("finetuning.pgd.lr=1e-2", "edit the file itself"),
    ],
)
def test_what_cannot_be_changed_is_refused(change: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        with_changes(TEXT, [change])


def test_a_change_of_several_lines_is_told_in_one() -> None:
    told = with_changes(TEXT, ['criteria=["l1\nseeds: 7\n# "]']).splitlines()
    assert told[-1] == '# Changed by the command: criteria=["l1 seeds: 7 # "]'


def test_a_file_that_cannot_be_read_is_left_to_its_faults() -> None:
    assert with_changes("name: [", ["seeds=3"]) == "name: ["
