"""Whatever a YAML text holds, it is read, or refused with its line and a sentence."""

from __future__ import annotations

import time
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from test_sweepfile import faults

from orchestrator.sweepfile.model import Sweep, SweepFileError, parse_sweep
from prune_core.specs.plain_yaml import read_yaml

from command import mrsweep
from conftest import sweep_text

TRUTH = "true and false, as YAML reads yes, no, on and off too, are no numbers"


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in typing.get_args(annotation):
        yield from models(part)


def numeric(schema: dict[str, object], value: object = True) -> Iterator[object]:
    """Yield what puts a value where a schema wants a number: itself, in a list, in a mapping."""
    if schema.get("type") in ("integer", "number"):
        yield value
    for form in schema.get("anyOf", []):
        yield from numeric(form, value)
    for wrap, inner in ((list, "items"), (dict, "additionalProperties")):
        if isinstance(schema.get(inner), dict):
            for given in numeric(schema[inner], value):
                yield [given] if wrap is list else {"resnet8": given}


def test_no_truth_value_is_a_number_anywhere_in_a_sweep_file() -> None:
    tried = 0
    for model in set(models(Sweep)):
        for name, schema in model.model_json_schema()["properties"].items():
            for value in numeric(schema):
                if "boolean" in str(schema):
                    continue  # rules about any setting; see below
                with pytest.raises(ValidationError) as caught:
                    model.model_validate({name: value})
                found = [e for e in caught.value.errors() if e["loc"][0] == name]
                assert any(TRUTH in e["msg"] for e in found), (model, name, found)
                tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seeds", "yes", f"seeds: {TRUTH} (given: true)"),
        ("seeds", "[on, off]", f"seeds.1: {TRUTH} (given: false)"),
        ("finetuning", "{a: {epochs: 1, lr: [on, 0.1]}}", f"finetuning.a-True.lr: {TRUTH}"),
        ("exclude", "[{seed: on}]", "seed has no level True"),
        ("overrides", "[{where: {seed: 0}, set: {dense.lr: on}}]", f"dense.lr = True: {TRUTH}"),
        ("resources", "{gpus: on}", f"resources.gpus: {TRUTH} or 'auto' (given: true)"),
        ("sparsities", "[~]", "sparsities.0: Input should be a valid number (given: null)"),
    ],
)  # fmt: skip
def test_a_truth_value_or_nothing_is_no_number(key: str, value: str, words: str) -> None:
    assert any(words in fault for fault in faults(sweep_text(**{key: value})))


def test_merge_keys_give_defaults_that_a_mappings_own_keys_override() -> None:
    text = (
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {x: 3, <<: *a}\nd: {<<: [*a, *b]}\n"
        "e: &e {<<: *a, y: 4}\nf: {<<: *e}\n"
    )
    data = read_yaml(text).data
    assert data["c"] == {"x": 3, "y": 1}
    assert data["d"] == {"x": 1, "y": 1, "z": 2}
    assert data["f"] == {"x": 1, "y": 4}
    sweep = parse_sweep(
        sweep_text(finetuning="{short: &s {epochs: 1, lr: 0.01}, fast: {<<: *s, lr: 0.1}}")
    )
    assert [level.lr for level in sweep.finetuning.values()] == [0.01, 0.1]


ODD = [
    ("? {a: 1}\n: 2", 1, "a list or a mapping cannot be a key"),
    ("x: 1\na: {{ epochs }}", 2, "fill in a template such as {{ epochs }}"),
    ("a:\n  2024-13-45: 1", 2, "key '2024-13-45' is a date to YAML; write the name in quotes"),
    ("x: 1\na: 2024-01-01T99:99:99Z", 2, "is a date to YAML"),
    ("1: a", 1, "key '1' is a number to YAML"),
    ("~: a", 1, "key '~' is nothing to YAML"),
    ("a:\n- &x [*x]", 2, "an alias within what it stands for"),
    ("a: &x {<<: *x}", 1, "an alias within what it stands for"),
    ("a: {<<: [1]}", 1, "merges mappings"),
    ("a: *b", 1, "found undefined alias 'b'"),
    ("a:\n\tb: 1", 2, "found character '\\t' that cannot start any token"),
    ("b: 1\na: \x01", 2, "no character of YAML: #x0001"),
    ("a: 1\n---\nb: 1", 2, "expected a single document"),
    ("a: !!int x", 1, "'x' is not a number"),
    ("a: !!bool x", 1, "'x' is not true or false"),
    ("a: 0x_", 1, "'0x_' is not a number"),
    (f"a: {'9' * 5000}", 1, "9...' is not a number"),
    (f"a: 0x{'f' * 5000}", 1, "is too large a whole number"),
    ("a: [07, 010]", 1, "'010' is 8 to YAML, which counts by eights after a leading 0; write 10"),
    ("a: !!set {x}", 1, "the tag !!set means nothing here"),
    ("a: !!str {x: 1}", 1, "the tag !!str means nothing here"),
    ("a: !mine x", 1, "the tag !mine means nothing here"),
    ("a: " + "[" * 3000, 1, "nested more than 50 deep"),
    ("a: &b0 [0]\n" + "".join(f"b{i}: &b{i} [*b{i - 1}]\n" for i in range(1, 90)), 1, "nested"),
]


@pytest.mark.parametrize(("text", "line", "words"), ODD)
def test_odd_texts_are_refused_with_their_line(text: str, line: int, words: str) -> None:
    found = faults(text)
    assert any(f.startswith(f"file.yaml:{line}: ") and words in f for f in found), found


def test_a_leading_zero_is_no_matter_where_it_changes_nothing() -> None:
    document = read_yaml("a: [00, 07, 0x10, 1_0, 08]")
    assert (document.data, document.faults) == ({"a": [0, 7, 16, 10, "08"]}, [])


def test_faults_of_yaml_and_of_the_sweep_come_together() -> None:
    found = faults(sweep_text(criteria="[l3]", seeds="2024-01-01") + "\nseeds: 2\n")
    assert [int(f.split(":")[1]) for f in found] == [4, 8, 12]


HUGE = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"b{i}: &b{i} [{','.join([f'*b{i - 1}' if i else '*a'] * 10)}]\n" for i in range(8)),
    "seeds": sweep_text(seeds="1000000000"),
    "seeds to add": sweep_text(seeds="{max: 1000000000, until: {half_width: 0.1}}"),
    "cells": sweep_text(sparsities=str([i / 200 for i in range(1, 200)]), seeds="100000"),
    "combinations": sweep_text(
        finetuning=str({"a": {"epochs": 1} | {s: [0.5] * 50 for s in ("lr", "beta", "momentum")}})
    ),
    "name": sweep_text(evaluation=f"{{attacks: [{'+'.join(['fgsm'] * 2000)}]}}"),
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_what_asks_for_too_much_is_refused_within_a_second(text: str) -> None:
    start = time.process_time()
    assert all(fault.startswith("file.yaml:") for fault in faults(text))
    assert time.process_time() - start < 1


def test_merges_of_merges_are_read_once_each() -> None:
    lines = [f"b{i}: &b{i} {{<<: [{','.join([f'*b{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    assert read_yaml("\n".join(["b0: &b0 {x: 1}", *lines])).data["b11"] == {"x": 1}


PIECES = st.sampled_from(
    ["a", "name", "lr", ": ", ":", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "&x ", "*x", "<<: ",
     "!!int ", "!!timestamp ", "! ", "'", '"', "? ", "~", "yes", "1", "0x", "1e400", ".nan", "|",
     "2024-02-30", "#", "%", "\t", "\x07", "é", "---\n", "=", "\\ud800", "08", "_"]
)  # fmt: skip


@limits(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=14), st.sampled_from(["", "dense: ", "seeds: ", "dataset: "]))
def test_odd_text_is_refused_and_its_file_named(pieces: list[str], start: str) -> None:
    text = start + "".join(pieces)
    try:
        sweep = parse_sweep(text, "file.yaml")
    except SweepFileError as refused:
        lines = str(refused).splitlines()
        assert "file.yaml" in lines[0]
        assert all(line.strip() for line in lines)
    else:  # no piece is a required key
        raise AssertionError(f"{text!r} was read as {sweep}")


def test_the_command_refuses_with_a_line_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    ratios = tmp_path / "ratios.yaml"
    ratios.write_text("resnet8:\n  2024-13-45: 1\n  b: yes\n")
    for text, words in (
        (sweep_text(dense="{epochs: {{ epochs }}}"), "sweep.yaml:9: a list or a mapping"),
        # Rich takes ":100:" for a picture.
        ("\n" * 99 + "nope: 1\n" + sweep_text().lstrip(), "sweep.yaml:100: nope: unknown key"),
        (sweep_text(pruning=f"{{ratios: {ratios}}}"), "ratios.yaml:2: key '2024-13-45' is a date"),
    ):
        file.write_text(text)
        ended = mrsweep("plan", file, "--storage", tmp_path / "runs")
        assert ended.returncode == 2
        assert words in ended.stderr.replace("\n", "")


@pytest.mark.parametrize("name", [".", "", "/", "x" * 300])
@pytest.mark.parametrize("verb", ["plan", "claim"])
def test_what_is_no_file_is_refused(verb: str, name: str) -> None:
    ended = mrsweep(verb, name)
    assert ended.returncode == 2
    assert "cannot be read" in ended.stderr
