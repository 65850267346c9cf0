"""Claims from the command line: files checked whole, registered, run, certified, verified."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrator.sweepfile.claim import read_claim
from orchestrator.sweepfile.model import SweepFileError

from command import Ended, mrsweep
from conftest import sweep_text

CLAIM = """
claim: fine-tuning beats none by at least five points
contrast: {finetuning: [standard, none]}
metric: finetuned_clean
where: {criterion: l1}
margin: 5
seeds: 3
assume: {difference: 20, spread: 5}
sweep: tiny.yaml
"""
ROOT = Path(__file__).parents[1]


def claim(folder: Path, name: str = "beats", text: str = CLAIM) -> Path:
    (folder / "tiny.yaml").write_text(sweep_text())
    file = folder / f"{name}.yaml"
    file.write_text(text.replace("tiny.yaml", str(folder / "tiny.yaml")))
    return file


def run(file: Path) -> Ended:
    root = file.parent / "root"
    return mrsweep(
        "claim", file, "run", "--storage", root, "--executor", "inline", "--device", "cpu"
    )


@pytest.fixture(scope="module")
def decided(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a claim that was run, where two of its three seeds were there before."""
    folder = tmp_path_factory.mktemp("decided")
    shutil.copytree(undisturbed, folder / "root")
    ended = run(claim(folder))
    assert ended.returncode == 0, ended.stderr
    assert "4 done before" in ended.stdout
    return folder


@pytest.fixture
def mine(decided: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    shutil.copytree(decided, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "beats.yaml").read_text().replace(str(decided), str(tmp_path))
    (tmp_path / "beats.yaml").write_text(text)
    return tmp_path


def test_a_certificate_says_what_was_done(decided: Path) -> None:
    made = json.loads((decided / "beats.json").read_text())
    assert made["design"] == {"seeds": [3], "alphas": [pytest.approx(0.05)]}
    registered = made["registered"]
    assert (registered["trials_before"], registered["trials_planned"]) == (4, 6)
    rows = pq.read_table(decided / "root/tables/trials")
    mask = pc.and_(pc.equal(rows["criterion"], "l1"), pc.less(rows["seed"], 3))
    assert {row[0] for row in made["trials"]["data"]} == set(
        rows.filter(mask)["trial_id"].to_pylist()
    )
    assert made["outcome"] in made["sentence"].lower()
    assert set(made["digests"]) == {"claim", "sweep", "data", "results"}


def test_only_the_claim_s_cells_are_run(decided: Path) -> None:
    rows = pq.read_table(decided / "root/tables/trials").to_pandas()
    assert set(rows.loc[rows["seed"] == 2, "criterion"]) == {"l1"}


@pytest.mark.parametrize("tables", ["root", "root/tables"])
def test_a_certificate_is_verified_from_its_tables(decided: Path, tables: str) -> None:
    ended = mrsweep("verify", decided / "beats.json", decided / tables)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("Verified: ")
    assert "4 of its 6 trials were there when it was registered" in ended.stdout


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of trials behind mrsweep's back."""
    for file in (folder / "root/tables/trials").glob("*.parquet"):
        pq.write_table(change(pq.read_table(file)), file)


def test_changed_rows_are_named(mine: Path) -> None:
    def lower(rows: pa.Table) -> pa.Table:
        names, seen = (rows[name].to_pylist() for name in ("finetuning", "finetuned_clean"))
        changed = [one - 0.01 * (name == "none") for one, name in zip(seen, names, strict=True)]
        place = rows.column_names.index("finetuned_clean")
        return rows.set_column(place, rows.schema.field(place), pa.array(changed))

    rewrite(mine, lower)
    ended = mrsweep("verify", mine / "beats.json", mine / "root")
    assert ended.returncode == 1
    assert "differs: looks.0.intervals.standard" in ended.stdout
    assert "differs: looks.0.rows" in ended.stdout


def test_lost_rows_are_named(mine: Path) -> None:
    made = json.loads((mine / "beats.json").read_text())
    lost = made["trials"]["data"][0][made["trials"]["columns"].index("trial_id")]
    rewrite(mine, lambda rows: rows.filter(pc.not_equal(rows["trial_id"], lost)))
    ended = mrsweep("verify", mine / "beats.json", mine / "root")
    assert ended.returncode == 1
    assert "1 trials that it was decided on are not there" in ended.stdout


def test_a_certificate_that_was_changed_is_caught(mine: Path) -> None:
    made = json.loads((mine / "beats.json").read_text())
    made["claim"]["margin"] = 2.0
    (mine / "beats.json").write_text(json.dumps(made))
    ended = mrsweep("verify", mine / "beats.json", mine / "root")
    assert ended.returncode == 1
    assert "differs: asks" in ended.stdout
    assert "differs: digests.claim" in ended.stdout


def test_what_is_no_certificate_is_refused(tmp_path: Path, undisturbed: Path) -> None:
    for text in ("", "[]", "{}", '{"certificate": 1}', '{"certificate": 99}'):
        (tmp_path / "x.json").write_text(text)
        ended = mrsweep("verify", tmp_path / "x.json", undisturbed)
        assert ended.returncode == 2, text
        assert "certificate" in ended.stderr


def test_a_registered_claim_is_not_changed(mine: Path) -> None:
    file = mine / "beats.yaml"
    file.write_text(file.read_text().replace("margin: 5", "margin: 4"))
    ended = mrsweep("claim", file, "certificate", "--storage", mine / "root")
    assert ended.returncode == 2
    assert "was registered otherwise" in ended.stderr
    assert "(margin)" in ended.stderr


def test_a_claim_is_registered_before_it_is_certified(tmp_path: Path, undisturbed: Path) -> None:
    file = claim(tmp_path)
    ended = mrsweep("claim", file, "certificate", "--storage", undisturbed)
    assert ended.returncode == 2
    assert "is not registered" in ended.stderr
    file = claim(tmp_path, text=CLAIM.replace("seeds: 3\n", ""))
    ended = mrsweep("claim", file, "run", "--storage", undisturbed)
    assert ended.returncode == 2
    assert "seeds are not written down yet" in ended.stderr


@pytest.mark.parametrize("step", ["run", "certificate"])
def test_a_certificate_is_not_written_over_its_claim(step: str, tmp_path: Path) -> None:
    file = claim(tmp_path).rename(tmp_path / "beats.json")  # YAML is read whatever it is called
    before = file.read_text()
    ended = mrsweep("claim", file, step, "--storage", tmp_path / "root", "--executor", "inline")
    assert ended.returncode == 2
    assert "the certificate would be written over the claim" in ended.stderr
    assert file.read_text() == before


def test_a_plan_says_how_surely_it_decides(tmp_path: Path, undisturbed: Path) -> None:
    file = claim(tmp_path)
    planned = mrsweep("claim", file, "--storage", undisturbed)
    assert planned.returncode == 0, planned.stderr
    assert "this design finds it supported in" in planned.stdout
    file = claim(tmp_path, text=CLAIM.replace("assume: {difference: 20, spread: 5}\n", ""))
    planned = mrsweep("claim", file, "--storage", undisturbed)
    assert "as at the 2 seeds that are there" in planned.stdout


def test_a_claim_is_of_the_seeds_that_its_sweep_names(tmp_path: Path) -> None:
    """A sweep of new seeds was run, and counted, at the ones that were known."""
    file = claim(tmp_path)
    assert read_claim(file).cells(3).seeds == (0, 1, 2)
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(re.sub("(?m)^seeds: .*", "seeds: [7, 3, 4]", sweep.read_text()))
    assert read_claim(file).cells(2).seeds == (3, 4)
    assert read_claim(file).cells(5).seeds == (3, 4, 7, 8, 9)


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    text = """
claim: x
contrast: {finetuning: [standard, nonne], allocation: [a]}
share: {criterion: ">", finetuning}
metric: finetuned_pgd_20
where: {criterium: l1}
margin: -5
seeds: [5, 3]
alfa: 1
expects: less
sweep: tiny.yaml
"""
    with pytest.raises(SweepFileError) as told:
        read_claim(claim(tmp_path, text=text))
    said = "\n".join(told.value.faults)
    for fault in (
        "allocation needs at least two levels", "no level 'nonne'; did you mean 'none'",
        "unknown metric 'finetuned_pgd_20'", "unknown factor 'criterium'", "(given: -5)",
        "growing numbers of seeds", "did you mean 'alpha'", "(given: 'less')",
        "give one of contrast, share, agreement",
    ):  # fmt: skip
        assert fault in said, fault


def test_a_file_of_the_other_kind_is_told_from_a_faulty_one(tmp_path: Path) -> None:
    """A claim that was run had sixteen faults, each with the list of all keys."""
    file = claim(tmp_path)
    sweep = tmp_path / "tiny.yaml"
    takers = (
        ("plan", file, "is a claim file: mrsweep claim takes it"),
        ("claim", sweep, "is a sweep file: mrsweep plan and run take it"),
    )
    for command, given, said in takers:
        ended = mrsweep(command, given, "--storage", tmp_path / "root")
        assert ended.returncode == 2
        assert ended.stderr.strip() == f"{given} {said}"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("contrast: {finetuning: [standard, none]}", "agreement: allocation", "one level alone"),
        ("seeds: 3", "seeds: [3, 3]", "growing numbers"),
        ("seeds: 3", "seeds: 2", "greater than or equal to 3"),
        ("margin: 5", "expects: equivalent", "give one over 0"),
        ("margin: 5", "estimand: worst choice", "share"),
        ("where: {criterion: l1}", "where: {finetuning: none}", "contrasted already"),
        ("where: {criterion: l1}", "where: {seed: 0}", "seeds are what is independent"),
        ("sweep: tiny.yaml", "sweep: /no/such.yaml", "cannot be read"),
        ("sweep: tiny.yaml", "", "missing"),
        ("sweep: tiny.yaml", "sweep: ''", "cannot be read"),
        ("sweep: tiny.yaml", f"sweep: {'x' * 300}", "cannot be read"),
        ("sweep: tiny.yaml", "sweep: [a]", "sweep: Input should be a valid string"),
        ("seeds: 3", "seeds: 1000000000", "less than or equal to 100000"),
        ("where: {criterion: l1}", "where: {sparsity: half}", "sparsity: 'half' is no number"),
        ("where: {criterion: l1}", "where: {sparsity: []}", "at least one level, each once"),
        ("{finetuning: [standard, none]}", "{sparsity: [0.5, 5/10]}", "at least one level, each"),
        ("contrast: {finetuning: [standard, none]}", "agreement: [criterion]", "agreement: Input"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in CLAIM
    with pytest.raises(SweepFileError, match=fault):
        read_claim(claim(tmp_path, text=CLAIM.replace(old, new)))


@pytest.mark.parametrize(("lies", "given"), [("claims", "tiny.yaml"), (".", "tiny.yaml"),
                                             ("sweeps", "sweeps/tiny.yaml")])  # fmt: skip
def test_a_claim_finds_its_sweep_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: str, given: str
) -> None:
    for folder in ("claims", "sweeps", "elsewhere"):
        (tmp_path / folder).mkdir()
    file = tmp_path / "claims" / "beats.yaml"
    file.write_text(CLAIM.replace("tiny.yaml", given))
    (tmp_path / lies / "tiny.yaml").write_text(sweep_text())
    text = sweep_text().replace("criteria: [", "criteria: [unknown, ")
    (tmp_path / "elsewhere" / "tiny.yaml").write_text(text)  # not the claim's
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_claim(file).text == read_claim(Path("../claims/beats.yaml")).text == sweep_text()
    (tmp_path / lies / "tiny.yaml").unlink()
    with pytest.raises(SweepFileError, match=r"neither in .*claims, where the claim lies"):
        read_claim(file)


@pytest.mark.parametrize("file", sorted((ROOT / "claims").glob("*.yaml")), ids=lambda f: f.stem)
def test_the_first_claims_can_be_asked(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    registered = read_claim(file)
    assert registered.claim.design is not None
    assert registered.cells(3).blocks() == registered.sweep.blocks(3)[:3]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "claims" / "certificates").glob("*.json")), ids=lambda f: f.stem
)
def test_the_first_claims_certificates_follow_from_their_tables(file: Path) -> None:
    said = json.loads(file.read_text(encoding="utf-8"))
    folder, study, *_ = Path(said["claim"]["sweep"]).parts
    tables = ROOT / folder / study if folder == "studies" else ROOT / "claims"
    ended = mrsweep("verify", file, tables)
    assert ended.returncode == 0, ended.stdout
    assert (ROOT / "claims" / f"{file.stem}.yaml").exists()
    assert f"[{said['outcome']}](claims/certificates/{file.name})" in (
        ROOT / "README.md"
    ).read_text(encoding="utf-8")
