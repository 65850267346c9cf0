"""A storage root: a folder, or any URI that fsspec opens; files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import inspect
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from results.errors import StorageError, StorageIOError


class Storage:
    """Files under one root. Paths are relative to it, with forward slashes."""

    def __init__(self, root: str):
        try:
            # Other processes write here too: a listing kept from before would be wrong.
            self.fs, self._base = fsspec.core.url_to_fs(root, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StorageError(f"storage root {root!r} cannot be opened: {error}") from error
        self.local = isinstance(self.fs, LocalFileSystem)
        found = inspect.signature(getattr(self.fs, "_find", self.fs.find)).parameters
        self._by_prefix = not self.local and "prefix" in found and "/" in self._base
        # Absolute, since workers have working folders of their own.
        self.root = self._base if self.local else root

    def path(self, *parts: str) -> str:
        """Return the file system's own path of a relative one; it never leads out of the root."""
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            raise ValueError(f"{'/'.join(parts)!r} is no path below a storage root")
        return posixpath.join(self._base, *parts)

    def check(self) -> None:
        """Raise `StorageError` unless the root is a folder that can be listed, or can be made."""
        try:
            if not self.local:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.ls(self._base)
            elif not self.fs.exists(self._base):
                self._check_parent()
            elif not self.fs.isdir(self._base):
                raise StorageError(f"storage root {self.root!r} is a file; give a folder")
            else:
                self.fs.ls(self._base)
        except StorageError:
            raise
        except Exception as error:  # object stores' clients have error types of their own
            raise StorageError(f"storage root {self.root!r} cannot be read: {error}") from error

    def _check_parent(self) -> None:
        parent = self._base
        while not self.fs.exists(parent):
            parent = posixpath.dirname(parent)
        if not self.fs.isdir(parent):
            raise StorageError(
                f"storage root {self.root!r} cannot be made: {parent!r} is a file, not a folder"
            )

    def exists(self, *parts: str) -> bool:
        """Say whether a file or folder is there."""
        path = self.path(*parts)
        with self.faults(path):
            return bool(self.fs.exists(path))

    def has(self, *parts: str) -> bool:
        """Say whether a file is there; of an object store that is one request."""
        return self.exists(*parts) if self.local else self.read(*parts, end=1) is not None

    def read(self, *parts: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """Return a file's bytes, from ``start`` up to ``end``; None where there is no file."""
        path = self.path(*parts)
        if start is None and not self.local:
            start = 0  # a range is one request; for a whole object s3fs first asks its size
        try:
            with self.faults(path):
                data: bytes = self.fs.cat_file(path, start=start, end=end)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data

    def write(self, data: bytes, *parts: str) -> None:
        """Write a file so that no reader ever sees a part of it; an older one is replaced.

        Raises:
            StorageIOError: It failed; nothing of the file is left behind.
        """
        self.write_all([(parts, data)])

    def write_all(self, files: Sequence[tuple[tuple[str, ...], bytes]]) -> None:
        """Write files as `write` does, at one moment as far as the file system has such.

        In a folder all are there under temporary names before the first is put in its place.
        """
        paths = [self.path(*parts) for parts, _ in files]
        if not self.local:
            for path, (_, data) in zip(paths, files, strict=True):
                with self.faults(path):
                    self.fs.pipe_file(path, data)  # object stores show an object once it is whole
            return
        waiting: list[tuple[str, str]] = []
        try:
            for path, (_, data) in zip(paths, files, strict=True):
                with self.faults(path):
                    waiting.append((self._temporary(path), path))
                    self._pipe(waiting[-1][0], data)
            while waiting:
                with self.faults(waiting[0][1]):
                    self.fs.mv(*waiting[0])
                waiting.pop(0)
        finally:
            for temporary, _ in waiting:
                if self.fs.exists(temporary):
                    self.fs.rm_file(temporary)

    def _temporary(self, path: str) -> str:
        """Return where a file is written first, in its own folder."""
        folder, name = posixpath.split(path)
        # A leading dot keeps readers of the folder (pyarrow, Spark, DuckDB's *.parquet) away.
        return posixpath.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")

    def _pipe(self, path: str, data: bytes) -> None:
        """Write a file in a folder, which is made; once more where it was removed in between."""
        for last in (False, True):
            self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
            try:
                self.fs.pipe_file(path, data)
                return
            except FileNotFoundError:
                if last:
                    raise

    def create(self, data: bytes, *parts: str) -> bool:
        """Write a file unless there is one; say whether this call made it. One of many wins."""
        path = self.path(*parts)
        try:
            with self.faults(path):
                if self.local:
                    self._create_local(data, path)
                else:
                    self.fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def _create_local(self, data: bytes, path: str) -> None:
        """A link to a file that is whole: no reader sees the new one empty."""
        temporary = self._temporary(path)
        try:
            self._pipe(temporary, data)
            self.fs.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            with self.fs.open(path, "xb") as file:  # a file system without links
                file.write(data)
        finally:
            if self.fs.exists(temporary):
                self.fs.rm_file(temporary)

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder, sorted, hidden ones left out; [] where there is none."""
        if self._by_prefix:
            names = {file.partition("/")[0] for file in self._found(*parts)}
        else:
            path = self.path(*parts)
            try:
                with self.faults(path):
                    paths = self.fs.ls(path, detail=False, refresh=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            names = {posixpath.basename(str(path).rstrip("/")) for path in paths}
        return sorted(name for name in names if not name.startswith("."))

    def stamps(self, *parts: str) -> dict[str, tuple[int, str]]:
        """Return a folder's files, hidden ones too: bytes, and what changes as a file does."""
        if self._by_prefix:
            return {
                name: (int(file["size"] or 0), _stamp(file))
                for name, file in self._found(*parts).items()
                if "/" not in name
            }
        path = self.path(*parts)
        try:
            with self.faults(path):
                found = self.fs.ls(path, detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {
            posixpath.basename(str(file["name"])): (int(file["size"] or 0), _stamp(file))
            for file in found
            if file["type"] == "file"
        }

    def modified(self, *parts: str) -> datetime | None:
        """Return when a file was written, by the storage's clock; None where there is no file."""
        path = self.path(*parts)
        try:
            with self.faults(path):
                written: datetime = self.fs.modified(path)
        except FileNotFoundError:
            return None
        return written

    def sizes(self, *parts: str) -> dict[str, int]:
        """Return the bytes of all files below a folder, by path relative to it; one listing."""
        return {name: int(file["size"]) for name, file in self._found(*parts).items()}

    def _found(self, *parts: str) -> dict[str, dict[str, Any]]:
        """Return all files below a folder, by path relative to it.

        By prefix, an object store is asked once, also for a folder that it lacks.
        """
        path = self.path(*parts)
        try:
            with self.faults(path):
                if self._by_prefix:
                    inside = "/".join(parts)
                    files = self.fs.find(self._base, detail=True, prefix=f"{inside}/")
                else:
                    files = self.fs.find(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        base = path.lstrip("/")  # an object store's listing has no leading slash
        relative = {posixpath.relpath(str(file).lstrip("/"), base): files[file] for file in files}
        return {name: file for name, file in relative.items() if not name.startswith("..")}

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Move a file; one that is gone already is no error."""
        path, to = self.path(*source), self.path(*target)
        with contextlib.suppress(FileNotFoundError), self.faults(path):
            if self.local:
                self.fs.makedirs(posixpath.dirname(to), exist_ok=True)
            self.fs.mv(path, to)

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all that it holds; what is gone already is no error."""
        path = self.path(*parts)
        if not self.local:
            self.remove_files(
                [(*parts, *file.split("/")) for file in self.sizes(*parts)] or [parts]
            )
            return
        with contextlib.suppress(FileNotFoundError), self.faults(path):
            self.fs.rm(path, recursive=True)

    def remove_files(self, files: Sequence[tuple[str, ...]]) -> None:
        """Remove files; what is gone already is no error. An object store is asked few times."""
        paths = [self.path(*parts) for parts in files]
        if self.local:
            for path in paths:
                with contextlib.suppress(FileNotFoundError), self.faults(path):
                    self.fs.rm_file(path)
        elif paths:
            with contextlib.suppress(FileNotFoundError), self.faults(paths[0]):
                self.fs.rm(paths)

    def remove_from(self, *parts: str) -> None:
        """Remove a file, and its folder where it was the last in it."""
        self.remove_files([parts])
        if self.local:
            with contextlib.suppress(OSError):  # not empty, or gone: then there is nothing to do
                self.fs.rmdir(self.path(*parts[:-1]))

    @contextlib.contextmanager
    def faults(self, path: str) -> Iterator[None]:
        """Turn what goes wrong within into a `StorageIOError`, but for a file that is not there."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError, StorageIOError):
            raise
        except OSError as error:
            raise StorageIOError(error.errno, f"{path}: {error.strerror or error}") from error
        except Exception as error:
            if self.local:
                raise
            # Object stores' clients have error types of their own.
            raise StorageIOError(None, f"{path}: {error}") from error


def _stamp(file: dict[str, Any]) -> str:
    return str(file.get("ETag") or (file.get("ino"), file.get("mtime") or file.get("LastModified")))
