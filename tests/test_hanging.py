"""Jobs that hang: the process ends, the row says where, the job is tried again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.worker import timeout as hanging
from results.tables.storage import Storage
from results.tables.store import Tables

HANGS = """
import sys, time, ctypes
from orchestrator.worker import timeout as hanging
hanging.GRACE = 1.0

def stuck():
    {how}

with hanging.time_limit(0.5, lambda where: print(where, flush=True)):
    stuck()
"""


def test_a_job_in_time_is_left_alone() -> None:
    with hanging.time_limit(0.2, lambda where: pytest.fail(where)):
        pass
    time.sleep(0.4)


def test_a_job_that_hangs_ends_and_says_where() -> None:
    code = HANGS.format(how="time.sleep(60)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert ended.returncode == hanging.EXIT
    assert "took more than 0.5 s" in ended.stdout
    assert "in stuck" in ended.stdout


def test_even_one_that_holds_python_s_lock() -> None:
    code = HANGS.format(how="ctypes.PyDLL(None).sleep(60)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert ended.returncode != 0
    assert "in stuck" in ended.stderr


JOB = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from conftest import sweep_text
from orchestrator.worker.job import perform
from orchestrator.planning.attempt import Order
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
plan = make_plan(parse_sweep(sweep_text(criteria="['sleeps:forever']", seeds="1")))
for job in plan.jobs.values():
    limit = 6.0 if job.kind == "scores" else None
    perform(Order(job, sys.argv[1], "cpu", ("dense",), time_limit=limit), node="n1")
"""


def test_its_row_names_cause_and_node(tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text("import time\ndef forever(layer):\n    time.sleep(600)\n")
    code = JOB.format(tests=str(Path(__file__).parent), here=str(tmp_path))
    root = str(tmp_path / "root")
    ended = subprocess.run([sys.executable, "-c", code, root], capture_output=True, timeout=300)
    assert ended.returncode == hanging.EXIT
    rows = Tables(Storage(root)).read("jobs").set_index("kind")
    assert rows.loc["dense", "status"] == "done"
    hung = rows.loc["scores"]
    assert (hung["status"], hung["cause"], hung["node_id"]) == ("failed", "time", "n1")
    assert "sleeps.py" in hung["error"]
    assert hung["seconds"] == pytest.approx(6, abs=5)
