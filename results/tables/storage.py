"""A storage root: a folder, or any URI that fsspec opens; files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import posixpath
import uuid
from collections.abc import Iterator

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
            if self.fs.exists(self._base):
                if not self.fs.isdir(self._base):
                    raise StorageError(f"storage root {self.root!r} is a file; give a folder")
                self.fs.ls(self._base)
            elif self.local:
                self._check_parent()
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

    def read(self, *parts: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """Return a file's bytes, from ``start`` up to ``end``; None where there is no file."""
        path = self.path(*parts)
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
        path = self.path(*parts)
        with self.faults(path):
            if not self.local:
                self.fs.pipe_file(path, data)  # object stores show an object only once it is whole
                return
            folder, name = posixpath.split(path)
            self.fs.makedirs(folder, exist_ok=True)
            # A leading dot keeps readers of the folder (pyarrow, Spark, DuckDB's *.parquet) away.
            temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
            try:
                self.fs.pipe_file(temporary, data)
                self.fs.mv(temporary, path)
            except BaseException:
                if self.fs.exists(temporary):
                    self.fs.rm_file(temporary)
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
        folder, name = posixpath.split(path)
        self.fs.makedirs(folder, exist_ok=True)
        temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
        try:
            self.fs.pipe_file(temporary, data)
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
        path = self.path(*parts)
        try:
            with self.faults(path):
                paths = self.fs.ls(path, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (posixpath.basename(str(path).rstrip("/")) for path in paths)
        return sorted(name for name in names if not name.startswith("."))

    def sizes(self, *parts: str) -> dict[str, int]:
        """Return the bytes of all files below a folder, by path relative to it; one listing."""
        path = self.path(*parts)
        try:
            with self.faults(path):
                files = self.fs.find(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        base = path.lstrip("/")  # an object store's listing has no leading slash
        return {
            posixpath.relpath(str(file).lstrip("/"), base): int(facts["size"])
            for file, facts in files.items()
        }

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
        with contextlib.suppress(FileNotFoundError), self.faults(path):
            self.fs.rm(path, recursive=True)

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
