"""A storage root: a folder, or any URI that fsspec opens; files appear whole or not at all."""

from __future__ import annotations

import posixpath
import uuid

import fsspec
from fsspec.implementations.local import LocalFileSystem


class StorageError(RuntimeError):
    """A storage root that cannot be used; the message says why."""


class Storage:
    """Files under one root. Paths are relative to it, with forward slashes."""

    def __init__(self, root: str):
        try:
            self.fs, self._base = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise StorageError(f"storage root {root!r} cannot be opened: {error}") from error
        # Absolute, since workers have working folders of their own.
        self.root = self._base if isinstance(self.fs, LocalFileSystem) else root

    def path(self, *parts: str) -> str:
        """Return the file system's own path of a relative one."""
        return posixpath.join(self._base, *parts)

    def check(self) -> None:
        """Raise `StorageError` unless the root is a folder that can be listed, or can be made."""
        try:
            if self.fs.exists(self._base):
                if not self.fs.isdir(self._base):
                    raise StorageError(f"storage root {self.root!r} is a file; give a folder")
                self.fs.ls(self._base)
            elif isinstance(self.fs, LocalFileSystem):
                self._check_parent()
        except OSError as error:
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
        return bool(self.fs.exists(self.path(*parts)))

    def read(self, *parts: str) -> bytes | None:
        """Return a file's bytes, or None where there is none."""
        try:
            found: bytes = self.fs.cat_file(self.path(*parts))
        except FileNotFoundError:
            return None
        return found

    def write(self, data: bytes, *parts: str) -> None:
        """Write a file so that no reader ever sees a part of it; an older one is replaced."""
        path = self.path(*parts)
        if not isinstance(self.fs, LocalFileSystem):
            self.fs.pipe_file(path, data)  # object stores show an object only once it is whole
            return
        folder, name = posixpath.split(path)
        self.fs.makedirs(folder, exist_ok=True)
        # A leading dot keeps readers of the folder (pyarrow, Spark, DuckDB's *.parquet) away.
        temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
        try:
            self.fs.pipe_file(temporary, data)
            self.fs.mv(temporary, path)
        except OSError:
            if self.fs.exists(temporary):
                self.fs.rm_file(temporary)
            raise

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder, sorted, hidden ones left out; [] where there is none."""
        try:
            found = self.fs.ls(self.path(*parts), detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (posixpath.basename(str(path).rstrip("/")) for path in found)
        return sorted(name for name in names if not name.startswith("."))

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all that it holds; what is gone already is no error."""
        try:
            self.fs.rm(self.path(*parts), recursive=True)
        except FileNotFoundError:
            return
