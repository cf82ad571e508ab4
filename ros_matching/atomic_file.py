"""Output files that replace an earlier file only when they are complete, and the paths that users give for them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


def output_path(file: str | Path) -> Path:
    """Return the absolute path of an output file, with ``~`` expanded and links resolved.

    Raises ``OSError`` for an unknown user (``~nobody/x``), a loop of links, a name that no file can have, and a folder.
    """
    text = os.fspath(file)
    if "\0" in text:
        raise OSError(errno.EINVAL, "a file name cannot contain a null character", text)
    try:
        path = Path(text).expanduser().resolve()
    except RuntimeError as error:  # pathlib's error for both, until Python 3.13
        code = errno.ENOENT if text.startswith("~") else errno.ELOOP
        raise OSError(code, str(error), text) from error
    if path.is_symlink():  # Python 3.13 returns a loop of links as it is
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), text)
    return path


@contextlib.contextmanager
def atomic_path(file: str | Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the same folder, which replaces ``file`` when the block ends.

    The temporary file has the suffix of ``file``, for writers that choose a format by it. It is flushed to the disk
    before it replaces ``file``, so that a full disk, an error in the block or a killed process leaves the earlier file
    as it was; on an error it is removed. The folder is created if absent; the mode of an existing file is kept. A
    device or pipe, such as ``/dev/stdout``, is written in place. Raises ``OSError``.
    """
    if _is_special(file):
        yield Path(file)
        return
    target = output_path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(4)}{target.suffix[:20]}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(file: str | Path, content: bytes | str) -> None:
    """Write the content of a file, text in UTF-8, as ``atomic_path`` does. Raises ``OSError``."""
    with atomic_path(file) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _is_special(file: str | Path) -> bool:
    """Return True for an existing device, pipe or socket."""
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
