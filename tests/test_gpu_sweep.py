"""A sweep on a GPU, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from on_gpu import GPU

from conftest import sweep_text
from test_launch import jobs, trials

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

CHANGES = {
    "dataset": "{name: digits}",
    "criteria": "[l1, adv-snip]",
    "allocations": "[uniform, mrs]",
    "finetuning": "{none: {epochs: 0}, pgd: {objective: pgd, epochs: 2, lr: 0.05, attack_steps: 3},"
    " rewound: {policy: lr-rewind, objective: standard, epochs: 2}}",
    "seeds": "1",
    "dense": "{objective: pgd, epochs: 4, lr: 0.05, attack_steps: 3}",
    "evaluation": "{attacks: [fgsm, 'bfloat16:apgd-ce'], sanity_images: 16}",
}


def ran(folder: Path, executor: str, compute: str, resources: str) -> Path:
    """Run it; return its storage root."""
    text = sweep_text(**CHANGES, compute=compute, resources=resources)
    (folder / "sweep.yaml").write_text(text)
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "run", str(folder / "sweep.yaml"),
         "--storage", str(folder / "runs"), "--device", str(GPU), "--executor", executor],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return folder / "runs"


@pytest.mark.parametrize("executor", ["inline", "ray"])
@pytest.mark.parametrize("profile", ["exact", "fast"])
def test_a_sweep(tmp_path: Path, executor: str, profile: str) -> None:
    resources = "{gpus: 1}" if executor == "inline" else "{gpus: auto}"
    root = ran(tmp_path, executor, f"{{profile: {profile}}}", resources)
    found, work = trials(root), jobs(root)
    assert set(found.status) == {"done"}
    assert set(found.profile) == {profile}
    assert "cuda" in set(work.device)
    assert (work.peak_memory > 0).all()
