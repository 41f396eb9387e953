"""A trail in a folder: a bucket of Opentrail's local store, or a plain copy as ``aws s3 sync`` leaves it.

Rules:

* In a bucket of the local store names are escaped and metadata lie beside the data (``stores.local_names``,
  ``stores.local_sidecars``); in a plain copy a name is a key's component as it is, and there are no metadata.  The
  metadata of a single digest, beside it, make it a store, so that no file which is put or taken away turns the
  accusation of a digest into a signature that a copy has lost: for that, whoever tampers must remove the metadata of
  all.  Nothing else does, so that no file of another kind turns a copy's lost signatures into accusations.
* A name that the store would not have written is no object's.  It is listed as it is all the same, because ``zcat`` and
  whoever else goes over the folder reads it; and it is not there when it is read.
* No symbolic link below the root is followed, whatever a digest or a listing says: every folder is opened from the one
  above it.  A link to a file, a pipe or a device is listed like a file, and is not there when it is read.  A link to a
  folder is a folder that cannot be read, and so is one that leads nowhere, unless it is named like a file.
* What cannot be read is not missing: a medium that fails, or a permission that lacks, is a ``StoreError``.  A root that
  is not there any more (a disk that was taken off) is one for all that lies below: it is ``retryable``.  A folder
  whose handle is stale (a server of files that restarted) is opened once more.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from opentrail.core.errors import ConfigError, NoSuchObject, StoreError
from opentrail.core.layout import LogKind
from opentrail.stores.local_names import FILE, META, MORE, WORK_FOLDER, EntryKind, format_path, parse_name, sidecar_path
from opentrail.stores.local_sidecars import decode_sidecar, foreign_entry, mark_of, match_entry
from opentrail.verification.source import ObjectTooLarge, OnKey, SourceObject, ignore_key, user_metadata

_PIECE_BYTES: Final = 1024 * 1024
_FOLDERS_OPEN: Final = 64  # a thread's: the log and digest folders of a few days
_LOOKED_AT: Final = 64  # folders of log files, for metadata where those of digests have none
_LOG_FOLDERS: Final = frozenset(LogKind)
_FILE_OF_A_TRAIL: Final = re.compile(r"[0-9]{12}_CloudTrail(?:-[A-Za-z]+)?_.+\.json\.gz", re.ASCII | re.DOTALL)
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hold the reader
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SIDECAR_BYTES: Final = 256 * 1024
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
_Entry = tuple[bytes, bool, str]  # the keys' first bytes, whether it is a folder, its path


class FolderSource:
    """The files below ``root``.  ``bucket`` is the bucket that they are a copy of, where that is known."""

    reads_at_once: Final = 1
    survives_fork: Final = True

    def __init__(self, root: str, *, bucket: str = "") -> None:
        self.name = root
        self.bucket = bucket
        folder = Path(root).absolute()
        self._root = str(folder).rstrip("/") + "/"
        if not folder.is_dir():
            raise ConfigError(f"{root}: there is no such folder")
        self._local = threading.local()
        self.sidecar = ""  # the file that makes it a bucket of the local store
        self.keeps_metadata = self._is_store()
        self._path_of: Callable[[str], str] = format_path if self.keeps_metadata else _plain_path

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """Every file below ``prefix``, as a key, in byte order; one folder in memory at a time."""
        wanted, after = (text.encode("utf-8", "surrogateescape") for text in (prefix, start_after))
        above = wanted[: wanted.rfind(b"/") + 1]
        stack = [iter(self._entries_at(above))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            first, is_folder, path = entry
            if not is_folder:
                if first.startswith(wanted) and first > after:
                    yield first.decode("utf-8", "surrogateescape")
            elif (first.startswith(wanted) or wanted.startswith(first)) and (first > after or after.startswith(first)):
                stack.append(iter(self._entries(first, path)))

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The folders in ``prefix``."""
        folders: list[str] = []
        for first, is_folder, _ in self._entries_at(prefix.encode("utf-8", "surrogateescape")):
            (folders.append if is_folder else beside)(first.decode("utf-8", "surrogateescape"))
        return folders

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The file's bytes, and its metadata where the folder keeps them."""
        path = self._find_path(key)
        descriptor, status = self._open(key, path)
        try:
            with self._store_errors(key):
                data = _read_to(descriptor, expected=status.st_size, limit=limit)
        finally:
            os.close(descriptor)
        if len(data) > limit:
            raise ObjectTooLarge(key, limit)
        if not self.keeps_metadata:
            return SourceObject(data=data)
        return SourceObject(data=data, metadata=self._metadata(path, status))

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The file's bytes in pieces."""
        descriptor, status = self._open(key, self._find_path(key))
        if status.st_size >= _PIECE_BYTES:
            return self._pieces(key, descriptor)
        try:
            with self._store_errors(key):
                data = _read_to(descriptor, expected=status.st_size, limit=_PIECE_BYTES)
        finally:
            os.close(descriptor)
        return iter((data,))

    def sibling(self, bucket: str) -> None:
        """A folder is one bucket."""

    def reopen(self) -> None:
        """The descriptors of folders can be shared."""

    def close(self) -> None:
        """Close this thread's folders; the process's end closes the others'."""
        for descriptor in self._folders().values():
            os.close(descriptor)
        self._folders().clear()

    def _is_store(self) -> bool:
        """Whether metadata lie beside a digest, or beside a log file in the first folders of these."""
        waiting = [self._root]
        log_folders: list[str] = []
        left = _LOOKED_AT
        while waiting or (log_folders and left):
            is_log_folder = not waiting
            left -= is_log_folder
            try:
                with os.scandir(folder := (waiting or log_folders).pop()) as entries:
                    for entry in entries:
                        if entry.name.endswith(META) and _is_sidecar(folder, entry.name):
                            self.sidecar = entry.path
                            return True
                        if entry.name != WORK_FOLDER and entry.is_dir(follow_symlinks=False):
                            (log_folders if is_log_folder or entry.name in _LOG_FOLDERS else waiting).append(entry.path)
            except OSError:
                continue  # whoever lists it is told
        return False

    def _find_path(self, key: str) -> str:
        try:
            return self._path_of(key)
        except ValueError:
            raise NoSuchObject(key) from None

    def _open(self, key: str, path: str) -> tuple[int, os.stat_result]:
        for name in (path, path + FILE) if self.keeps_metadata else (path,):
            try:
                descriptor = self._open_file(name)
            except OSError as error:
                if self._is_absent(error):
                    self._refuse_links_above(key, name)
                    continue
                raise self._store_error(key, error) from error
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                return descriptor, status
            os.close(descriptor)
        raise NoSuchObject(key)

    def _open_file(self, path: str) -> int:
        """A descriptor of the file at ``path``.  Raises ``OSError``."""
        folder, _, file = path.rpartition("/")
        try:
            return os.open(file, _FILE_FLAGS, dir_fd=self._open_folder(folder))
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        self.close()
        return os.open(file, _FILE_FLAGS, dir_fd=self._open_folder(folder))

    def _is_absent(self, error: OSError) -> bool:
        """Whether nothing that could be read lies there: links, sockets and impossible names are nothing."""
        return error.errno in _ABSENT and self._has_root()

    def _has_root(self) -> bool:
        return os.path.isdir(self._root)  # noqa: PTH112  pathlib's raises what a failing disk says

    def _folders(self) -> dict[str, int]:
        folders: dict[str, int] | None = getattr(self._local, "folders", None)
        if folders is None:
            folders = self._local.folders = {}
        return folders

    def _open_folder(self, path: str) -> int:
        """A descriptor of the folder, opened from the root down without following a link.  Raises ``OSError``."""
        folders = self._folders()
        below: list[str] = []  # of the nearest folder that is open, each with its path
        nearest = path
        while nearest and nearest not in folders:
            below.append(nearest)
            nearest = nearest.rpartition("/")[0]
        descriptor = folders.get(nearest)
        if descriptor is None:
            descriptor = self._keep_open("", os.open(self._root, _FOLDER_FLAGS))
        for each in reversed(below):
            name = each.rpartition("/")[2]
            descriptor = self._keep_open(each, os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor))
        return descriptor

    def _keep_open(self, path: str, descriptor: int) -> int:
        """``descriptor``, which is that of the folder at ``path``, kept until so many others were opened."""
        folders = self._folders()
        if len(folders) >= _FOLDERS_OPEN:
            os.close(folders.pop(next(iter(folders))))
        folders[path] = descriptor
        return descriptor

    def _metadata(self, path: str, status: os.stat_result) -> dict[str, str]:
        sidecar = sidecar_path(path)
        try:
            descriptor = self._open_file(sidecar)
        except OSError as error:
            if self._is_absent(error):
                return {}
            raise self._store_error(sidecar, error) from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return {}
            with self._store_errors(sidecar):
                entries = decode_sidecar(_read_to(descriptor, expected=found.st_size, limit=_SIDECAR_BYTES))
        finally:
            os.close(descriptor)
        mark = mark_of(status)
        return user_metadata((match_entry(entries, mark) or foreign_entry(entries, mark)).metadata)

    def _entries_at(self, above: bytes) -> list[_Entry]:
        """What lies in the folder whose keys start with ``above``, in the order of its keys."""
        key = above[:-1].decode("utf-8", "surrogateescape")
        paths = {""} if not above else set()
        for path_of in (self._path_of, _plain_path) if above else ():
            with suppress(ValueError):  # none can have the key
                paths.add(path_of(key))
        return sorted(entry for path in paths for entry in self._entries(above, path))

    def _entries(self, above: bytes, path: str) -> list[_Entry]:
        """What lies in the folder at ``path``, whose keys start with ``above``, in the order of its keys."""
        found: list[_Entry] = []
        pieces = [(above, path)]  # of one folder: a long component lies in several
        while pieces:
            first, piece = pieces.pop()
            for name, is_folder in self._names_in(first, piece):
                below = f"{piece}/{name}" if piece else name
                raw, kind = self._parse(name, is_folder=is_folder)
                if kind is EntryKind.MORE:
                    pieces.append((first + raw, below))
                else:
                    found.append((first + raw + (b"/" if is_folder else b""), is_folder, below))
        if not found and not self._has_root():
            raise StoreError(f"{self.name}: the folder is not there any more", retryable=True)
        found.sort()
        return found

    def _names_in(self, above: bytes, path: str) -> Iterator[tuple[str, bool]]:
        """The names in the folder at ``path``, whose keys start with ``above``, and which of them are folders'."""
        try:
            descriptor = os.open(".", _FOLDER_FLAGS, dir_fd=self._open_folder(path))
        except OSError as error:
            key = above.decode("utf-8", "replace")
            if self._is_absent(error):
                self._refuse_links_above(key, f"{path}/")
                return
            raise self._store_error(f"{self._root}{key}", error) from error
        try:
            with self._store_errors(above.decode("utf-8", "replace")), os.scandir(descriptor) as entries:
                for entry in entries:
                    if not self.keeps_metadata or not self._is_its_own(path, entry.name):
                        yield entry.name, _is_folder(entry)
        finally:
            os.close(descriptor)

    def _is_its_own(self, path: str, name: str) -> bool:
        """Whether ``name``, in the folder at ``path``, is the store's own, and no object's."""
        return (name.startswith(".") and name.endswith(META)) or (name == WORK_FOLDER and not path)

    def _parse(self, name: str, *, is_folder: bool) -> tuple[bytes, EntryKind]:
        """What ``name`` stands for; what is no part of a key stands for itself."""
        parsed = parse_name(name, is_folder=is_folder) if self.keeps_metadata else None
        return parsed or (os.fsencode(name), EntryKind.FOLDER if is_folder else EntryKind.FILE)

    def _refuse_links_above(self, key: str, path: str) -> None:
        """Raise ``StoreError`` where ``path`` leads through a symbolic link: what is behind it is not missing."""
        folder = ""
        for name in path.split("/")[:-1]:
            folder += name
            if os.path.islink(self._root + folder):  # noqa: PTH114  pathlib's would drop what such a name may end in
                raise StoreError(f"{key!r}: {folder!r} is a symbolic link, which is not followed", retryable=False)
            folder += "/"

    def _pieces(self, key: str, descriptor: int) -> Iterator[bytes]:
        try:
            with self._store_errors(key):
                while data := os.read(descriptor, _PIECE_BYTES):
                    yield data
        finally:
            os.close(descriptor)

    @contextmanager
    def _store_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._store_error(what, error) from error

    def _store_error(self, what: str, error: OSError) -> StoreError:
        if not self._has_root():
            return StoreError(f"{what!r}: the folder is not there any more", retryable=True)
        return StoreError(f"{what!r}: {error.strerror or error}", retryable=False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether ``entry`` is a folder, or a link in the place of one: AWS's folders have no dot in their names."""
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return "." not in entry.name


def _is_sidecar(folder: str, name: str) -> bool:
    """Whether ``name``, which ends as metadata do, is that of the metadata of a digest or log file beside it."""
    data = name.removeprefix(".").removesuffix(META)
    above = os.path.basename(folder)  # noqa: PTH119  every component is text here
    whole = above.removesuffix(MORE) + data if above.endswith(MORE) else data
    is_named_so = name.startswith(".") and _FILE_OF_A_TRAIL.fullmatch(whole) is not None
    return is_named_so and os.path.lexists(f"{folder}/{data}")


def _plain_path(key: str) -> str:
    """The path of ``key`` in a plain copy.  Raises ``ValueError`` when no file there can have it."""
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(key)
    return key


def _read_to(descriptor: int, *, expected: int, limit: int) -> bytes:
    """The bytes of a file that should have ``expected``; at most one more than ``limit``."""
    data = os.read(descriptor, min(expected, limit) + 1)
    while data and len(data) != expected and len(data) <= limit:  # it grew, or the medium gives less than it has
        more = os.read(descriptor, min(_PIECE_BYTES, limit + 1 - len(data)))
        if not more:
            break
        data += more
    return data
