"""The files for clusters, checked as far as that goes without one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "sweeps" / "cluster"
BIN = Path(sys.executable).parent


def test_the_slurm_script_is_sound_shell() -> None:
    tool = shutil.which("shellcheck", path=str(BIN))
    found = subprocess.run([tool, str(FOLDER / "slurm.sh")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


FAKES = {
    "scontrol": 'test "$1" = show && { echo node1; echo node2; exit; }; '
                'echo "scontrol $*" >> "$CALLS"',
    "srun": 'echo "srun $*" >> "$CALLS"; case "$*" in *hostname*) echo "10.0.0.1 fe80::1";; '
            '*socket*) echo 7391;; *) exec /bin/sleep 100;; esac',
    "sleep": 'echo "slept $*" >> "$CALLS"; touch "$CALLS.up"',
    "mrsweep": 'echo "mrsweep $* token=${#RAY_AUTH_TOKEN}" >> "$CALLS"; '
               'trap "echo terminated >> $CALLS; exit 130" TERM; '
               'for i in $(seq 50); do /bin/sleep 0.1; done',
    "ray": 'test -e "$CALLS.up"',  # it answers at the second try
}  # fmt: skip


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """Commands of a Slurm node that write down how they were called."""
    for name, body in FAKES.items():
        for folder in (tmp_path / "bin", tmp_path / "venv" / "bin"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o755)
    return tmp_path


def test_the_slurm_script_starts_a_cluster_and_hands_termination_on(fakes: Path) -> None:
    calls = fakes / "calls"
    job = subprocess.Popen(
        ["/bin/bash", str(FOLDER / "slurm.sh"), "sweep.yaml", "s3://b/runs"],
        env={"PATH": f"{fakes / 'bin'}:/usr/bin:/bin", "VENV": str(fakes / "venv"),
             "CALLS": str(calls), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "16",
             "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "17"},
        start_new_session=True,
    )  # fmt: skip
    for _ in range(200):
        if calls.exists() and "mrsweep" in calls.read_text():
            break
        subprocess.run(["/bin/sleep", "0.05"], check=True)
    job.terminate()
    assert job.wait(timeout=20) == 130
    os.killpg(job.pid, signal.SIGKILL)  # what srun would have ended
    said = calls.read_text().splitlines()
    assert any("--nodelist=node1" in line and "start --head" in line for line in said)
    assert any("--port=7391" in line for line in said)  # one that was free
    assert any("--nodelist=node2" in line and "--address=10.0.0.1:7391" in line for line in said)
    assert said.count("slept 1") == 1  # until the head answered, and no longer
    assert said[-1] == "scontrol requeue 17"
    sweep = next(line for line in said if line.startswith("mrsweep"))
    assert sweep == (
        "mrsweep run sweep.yaml --storage s3://b/runs --address 10.0.0.1:7391 token=64"
    )
    assert "terminated" in said


def test_the_ray_cluster_file_fits_ray_s_schema() -> None:
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    cluster = yaml.safe_load((FOLDER / "ray-cluster.yaml").read_text())
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]


def test_the_rayjob_s_pods_fit_kubernetes_schema(tmp_path: Path) -> None:
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    tool = shutil.which("kubernetes-validate", path=str(BIN))
    for number, group in enumerate(groups):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}}
        file = tmp_path / f"pod{number}.yaml"
        file.write_text(yaml.safe_dump({**pod, **group["template"]}))
        found = subprocess.run([tool, "--strict", str(file)], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr


def test_the_dockerfile_passes_hadolint_and_copies_what_is_there() -> None:
    tool = shutil.which("hadolint", path=str(BIN))
    file = FOLDER / "Dockerfile"
    found = subprocess.run([tool, str(file)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    for line in file.read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (FOLDER.parents[1] / source).exists()


def test_no_file_holds_a_secret_or_turns_the_token_off() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text()
        assert "RAY_AUTH_MODE=disabled" not in text
        assert "AKIA" not in text
