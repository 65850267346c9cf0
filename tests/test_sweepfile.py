"""Sweep files: what is refused, with what words, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweepfile.model import Sweep, SweepFileError, parse_sweep, read_sweep

from conftest import DEMO, sweep_text


def faults(text: str) -> list[str]:
    with pytest.raises(SweepFileError) as caught:
        parse_sweep(text, "file.yaml")
    return caught.value.faults


# key to replace, its new value, the line of the fault, words that its message holds
FAULTS = [
    ("name", "../up", 1, "should match pattern"),
    ("dataset", "digitz", 2, "did you mean 'digits'?"),
    ("dataset", "{name: digits, root: /x}", 2, "leave out root and source"),
    ("dataset", "cifar10", 2, "needs root (the folder that holds it)"),
    ("architectures", "[resnet8, resnet8]", 3, "repeated: resnet8"),
    ("architectures", "[]", 3, "at least 1 item"),
    ("architectures", "resnet8", 3, "valid list"),
    ("criteria", "[l3]", 4, "unknown criterion 'l3'; did you mean 'l2'?"),
    ("criteria", "['outside:nope']", 4, "has no function 'nope'"),
    ("sparsities", "[1.2]", 5, "less than 1 (given: 1.2)"),
    ("sparsities", "[0.5, 1/2]", 5, "repeated: 0.5"),
    ("sparsities", "[half]", 5, "'half' is no number; write 0.03, 1e-3 or 8/255"),
    ("allocations", "[unifrom]", 6, "did you mean 'uniform'?"),
    ("finetuning", "{a: {epochs: 2, policy: none}}", 7, "none and recalibrate have 0 epochs"),
    ("finetuning", "{a: {epochs: 0, policy: scratch}}", 7, "every other policy at least 1"),
    ("finetuning", "{a: {epochs: 2}, b: {epochs: 2.0}}", 7, "'b' and 'a' say the same"),
    ("finetuning", "{a: {epoch: 2}}", 7, "did you mean 'epochs'?"),
    ("sparsities", "[1/]", 5, "'1/' is no number"),
    ("finetuning", "{a: {epochs: 2, lr: .inf}}", 7, "finite number"),
    ("finetuning", "{off: {epochs: 0}}", 7, "write the name in quotes"),
    ("seeds", "0", 8, "give at least 1"),
    ("seeds", "[1, 1]", 8, "repeated: 1"),
    ("dense", "{objective: pdg, epochs: 2}", 9, "did you mean 'pgd'?"),
    ("dense", "{objective: pgd}", 9, "missing"),
    ("threat", "{eps: 2}", 10, "under linf it is at most 1"),
    ("threat", "{norm: l7, eps: 0.1}", 10, "should be 'linf'"),
    ("evaluation", "{attacks: [pgd]}", 11, "did you mean 'pgd-<k>'?"),
    ("evaluation", "{attacks: []}", 11, "at least 1 item"),
    ("critera", "[l1]", 12, "unknown key; did you mean 'criteria'?"),
    ("exclude", "[{criterion: l2}]", 12, "criterion has no level 'l2'; did you mean 'l1'?"),
    ("exclude", "[{critrion: l1}]", 12, "unknown factor 'critrion'; did you mean 'criterion'?"),
    ("overrides", "[{where: {seed: 9}, set: {dense.lr: 1}}]", 12, "seed has no level 9"),
    ("overrides", "[{where: {seed: 1}, set: {dense.rl: 1}}]", 12, "did you mean 'dense.lr'?"),
    ("overrides", "[{where: {seed: 1}, set: {dense.lr: -1}}]", 12, "dense.lr = -1: Input should"),
    ("keep", "[everything]", 12, "should be 'dense', 'rewind', 'scores', 'prune' or 'finetune'"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "line", "words"), FAULTS)
def test_one_fault(key: str, value: str, line: int, words: str) -> None:
    found = faults(sweep_text(**{key: value}))
    assert any(f.startswith(f"file.yaml:{line}: ") and words in f for f in found), found


def test_all_faults_come_at_once_in_the_order_of_lines() -> None:
    text = sweep_text(criteria="[l3]", sparsities="[1.2]", allocations="[]", bogus="1")
    found = faults(text)
    assert [int(f.split(":")[1]) for f in found] == [4, 5, 6, 12]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "key 'a' is given twice"),
        ("- 1", 1, "a mapping of keys"),
        ("", 1, "a mapping of keys"),
        ("a: [1,\nb: 2", 2, "expected"),
        ("a: !!python/object:os.system x", 1, "the tag !!python/object:os.system means nothing"),
    ],
)
def test_no_sweep_at_all(text: str, line: int, words: str) -> None:
    (found,) = (fault for fault in faults(text) if fault.startswith(f"file.yaml:{line}: "))
    assert words in found


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SweepFileError, match=r"none.yaml: cannot be read: No such file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SweepFileError, match="not UTF-8"):
        read_sweep(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("written", "value"), [("8/255", 8 / 255), ("1e-3", 0.001), ("0.5", 0.5), ("1", 1.0)]
)
def test_numbers(written: str, value: float) -> None:
    assert parse_sweep(sweep_text(threat=f"{{eps: {written}}}")).threat.eps == value


def test_seeds_and_recipes_in_their_short_forms() -> None:
    sweep = parse_sweep(sweep_text(seeds="3"))
    assert sweep.seeds == (0, 1, 2)
    assert list(sweep.dense) == ["dense"]
    named = sweep_text(dense="{a: {epochs: 1}, b: {epochs: 2}}")
    assert parse_sweep(named).factors()["dense"] == ("a", "b")


def test_json_schema_knows_every_key_and_the_names() -> None:
    schema = Sweep.model_json_schema()
    assert {"criteria", "finetuning", "overrides"} <= set(schema["properties"])
    assert "taylor" in schema["properties"]["criteria"]["items"]["examples"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("file", sorted(DEMO.parent.glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_sweeps_are_valid(file: Path) -> None:
    assert read_sweep(file).name == file.stem
