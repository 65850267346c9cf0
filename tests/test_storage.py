"""Storage: whole files or none, nothing outside the root, one of many creates a file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from results.errors import StorageError
from results.tables.storage import Storage
from results.tables.store import Tables


def test_a_file_appears_whole_and_leaves_nothing_beside_it(storage: Storage) -> None:
    storage.write(b"one", "a", "b.bin")
    storage.write(b"two", "a", "b.bin")
    assert storage.read("a", "b.bin") == b"two"
    assert os.listdir(storage.path("a")) == ["b.bin"]  # noqa: PTH208 - hidden files too
    assert storage.read("a", "none") is None
    assert storage.names("nowhere") == []
    storage.remove("a")
    storage.remove("a")
    assert not storage.exists("a")


def test_a_writer_killed_in_the_middle_leaves_no_readable_part(storage: Storage) -> None:
    code = (
        "import os, signal\n"
        "from results.tables.storage import Storage\n"
        "from fsspec.implementations.local import LocalFileSystem\n"
        "plain = LocalFileSystem.mv\n"
        "LocalFileSystem.mv = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Storage({storage.root!r}).write(b'half', 'tables', 'trials', 'x.parquet')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert storage.names("tables", "trials") == []
    assert Tables(storage).read("trials").empty


def test_a_full_disk_is_an_error_and_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, data: bytes) -> None:
        Path(path).write_bytes(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.fs, "pipe_file", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write(b"data", "a", "b.bin")
    assert os.listdir(storage.path("a")) == []  # noqa: PTH208 - hidden files too


@pytest.mark.parametrize("below", ["", "/sub/folder"])
def test_a_root_that_is_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"is a file"):
        Storage(str(tmp_path / "file") + below).check()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Storage("nosuch://place")


@pytest.mark.parametrize("parts", [("..", "x"), ("a/../../x",), ("a", ""), ("a\\b",)])
def test_no_path_leads_out_of_the_root(storage: Storage, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no path below a storage root"):
        storage.write(b"x", *parts)


def test_one_of_many_creates_a_file(storage: Storage) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: storage.create(str(n).encode(), "leases", "k"), range(16)))
    assert sum(made) == 1
    assert storage.read("leases", "k") == str(made.index(True)).encode()
    assert storage.names("leases") == ["k"]


def test_where_files_cannot_be_linked_one_still_creates(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(storage.fs, "link", unable)
    assert storage.create(b"1", "leases", "k")
    assert not storage.create(b"2", "leases", "k")
    assert storage.read("leases", "k") == b"1"
