"""What a sweep file asks for wrongly is refused whole, before any work."""

from __future__ import annotations

from pathlib import Path

from command import mrsweep
from conftest import sweep_text

BAD = [
    ("criteria", "[l3]", "unknown criterion 'l3'; did you mean 'l2'?"),
    ("bogus", "1", "bogus: unknown key"),
    ("sparsities", "[1.2]", "less than 1 (given: 1.2)"),
    ("allocations", "[]", "at least 1 item"),
]


def test_bad_input_is_refused_whole_with_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(sweep_text(**{key: value for key, value, _ in BAD}))
    (tmp_path / "taken").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    for command in ("plan", "run", "status", "report", "trial"):
        bad = mrsweep(command, file, "--storage", tmp_path / "taken")
        assert bad.returncode == 2, bad
        for _, _, words in BAD:
            assert words in bad.stderr
        assert "is a file; give a folder" in bad.stderr
        assert "Traceback" not in bad.stderr + bad.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_folder_of_data_is_refused_before_work(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    data = f"{{name: cifar10, root: {tmp_path}/none, source: parquet}}"
    file.write_text(sweep_text(dataset=data))
    bad = mrsweep("run", file, "--storage", tmp_path / "root")
    assert bad.returncode == 2
    assert "is not a folder; give the one with the images" in bad.stderr
    assert not (tmp_path / "root").exists()


def test_what_cannot_be_read_or_built_is_refused_together_before_work(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    text = sweep_text(
        architectures="[resnet8, 'timm:resnet_18', 'torchvision:resnet18']",
        dataset=f"{{name: cifar10, root: {tmp_path}, source: parquet}}",
    )
    (tmp_path / "sweep.yaml").write_text(text)
    bad = mrsweep("run", str(tmp_path / "sweep.yaml"), "--storage", str(tmp_path / "runs"))
    assert bad.returncode == 2
    assert "timm has no network 'resnet_18'; the nearest: resnet18" in bad.stderr
    assert "train.parquet in" in bad.stderr
    assert "fetch the data set again" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert not (tmp_path / "runs" / "tables").exists()
