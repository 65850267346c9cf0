"""An S3 server as storage root: whole sweeps, leases and reports, as in a folder."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import results
from orchestrator.state.leases import Leases
from results.errors import StorageError, StorageIOError
from results.tables.storage import Storage
from results.tables.store import Tables

from command import mrsweep
from conftest import run_sweep, sweep_text
from test_launch import trials

SECRET = "s3cr3t-and-nowhere-to-be-found"  # noqa: S105 - of a server that lives for this test


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real server on a port of its own; credentials come from the environment alone."""
    from moto.server import ThreadedMotoServer

    with contextlib.redirect_stdout(io.StringIO()):
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "user")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.name))}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
    return f"s3://{name}/runs"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the server is asked, by operation."""
    import aiobotocore.client

    calls: Counter[str] = Counter()
    made = aiobotocore.client.AioBaseClient._make_api_call

    async def counted(self: object, name: str, given: object) -> object:
        calls[name] += 1
        return await made(self, name, given)

    monkeypatch.setattr(aiobotocore.client.AioBaseClient, "_make_api_call", counted)
    return calls


def test_a_sweep_s_rows_are_those_of_a_folder_and_a_relaunch_does_nothing(
    bucket: str, tmp_path: Path, requests: Counter[str]
) -> None:
    text = sweep_text(criteria="[l1, taylor]", seeds="1")
    done = run_sweep(text, bucket).outcomes
    assert requests.total() <= 20 * len(done), requests  # 14 of a job that is not so small
    run_sweep(text, tmp_path)
    found = Tables(Storage(bucket)).read("trials")
    found = found.drop(columns=["finetune_seconds", "evaluate_seconds", "node", "finished"])
    pd.testing.assert_frame_equal(found, trials(tmp_path))
    requests.clear()
    assert run_sweep(text, bucket).outcomes == []
    assert requests.total() <= 30, requests
    more = run_sweep(text.replace("[l1, taylor]", "[l1, taylor, l2]"), bucket)
    assert Counter(kind for kind, _ in more.outcomes) == {"prune": 1, "trial": 2}
    loaded = results.load(bucket, "tiny")
    assert len(loaded.trials) == 6
    storage = Storage(bucket)
    assert not storage.names("leases")
    assert not storage.names("drivers")
    whole = b"".join(storage.fs.cat(storage.fs.find(storage.path("tables"))).values())
    whole += b"".join(storage.fs.cat(storage.fs.find(storage.path("sweeps"))).values())
    assert SECRET.encode() not in whole


@pytest.mark.usefixtures("undrawn")
def test_the_commands_take_a_uri(bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(sweep_text(seeds="1"))
    for name, *options, said in (
        ("run", "--executor", "inline", "--device", "cpu", "4/4 trials"),
        ("status", "4 trials: 4 done, 0 failed, 0 left"),
        ("report", f"Tables:  {bucket}/tables"),
    ):
        ended = mrsweep(name, file, "--storage", bucket, *options)
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout
    assert Storage(bucket).exists("sweeps", "tiny", "report", "index.html")


def test_one_driver_wins_a_lease(bucket: str) -> None:
    storage = Storage(bucket)
    with Leases(storage) as one, Leases(Storage(bucket)) as other:
        assert one.take("k")
        assert not other.take("k")
        assert other.others()
        one.release("k")
        assert other.take("k")


def test_files_below_a_folder_in_one_listing(bucket: str) -> None:
    storage = Storage(bucket)
    assert storage.sizes("artifacts", "dense") == {}
    storage.write(b"abc", "artifacts", "dense", "k", "network.safetensors")
    assert storage.sizes("artifacts", "dense") == {"k/network.safetensors": 3}
    assert storage.names("artifacts") == ["dense"]
    storage.remove("artifacts", "dense")
    assert not storage.exists("artifacts", "dense", "k", "network.safetensors")
    storage.write(b"x", "tables", "jobs", "a.parquet")
    storage.move(("tables", "jobs", "a.parquet"), ("damaged", "jobs", "a.parquet"))
    assert storage.read("damaged", "jobs", "a.parquet") == b"x"
    assert storage.names("tables", "jobs") == []


def test_a_folder_that_is_not_there_is_asked_for_once(bucket: str, requests: Counter[str]) -> None:
    storage = Storage(bucket)
    assert (storage.names("leases"), storage.stamps("log"), storage.sizes("artifacts")) == (
        [],
        {},
        {},
    )
    assert requests == {"ListObjectsV2": 3}


def test_a_bucket_that_is_not_there_is_named(server: str) -> None:
    storage = Storage("s3://no-such-bucket/runs")
    with pytest.raises((StorageIOError, FileNotFoundError), match="bucket"):
        storage.write(b"x", "tables", "a")


def test_a_server_out_of_reach_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fs = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    storage = Storage("s3://bucket/runs")
    storage.fs = fs
    with pytest.raises(StorageError, match="cannot be read"):
        storage.check()
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
