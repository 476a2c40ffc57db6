"""Lets one process at a time write a run folder.

The system locks an open file for a process (`flock`). On Windows, and on file
systems without such locks, nothing is locked.
"""

import contextlib
import os
import platform

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(path):
    """Holds a lock file while the block runs.

    The system releases the lock when the process ends, in whatever way. The
    file of a killed process may stay behind, but it is not locked.

    Args:
        path: `pathlib.Path` of the lock file, in an existing folder.

    Raises:
        BlockingIOError: If another process holds it; the message names that
            process.

    Example:

    >>> with locked(run.lock_file):
    ...     run.write_config(settings, source)
    """
    if fcntl is None:
        yield
        return
    file = _acquired(path)
    try:
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        # The file goes before its lock does: a process that has opened the
        # same file then sees in `_is_at` that it holds a removed file.
        path.unlink(missing_ok=True)
        os.close(file)


def _acquired(path):
    """Returns a descriptor of the lock file, locked and still at the path.

    Another process may remove the file between opening and locking it. Then the
    next file is tried.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file, path)
            if _is_at(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file, path):
    """Tells whether the file that was opened is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file, path):
    """Locks a file, or raises a BlockingIOError that names the holder."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 100).decode(errors="replace") or "another"
        raise BlockingIOError(
            "The run must be written by one process at a time. Received: "
            f"{str(path.parent)!r}, which process {holder} is writing"
        ) from None
    except OSError:
        pass  # Some network file systems have no locks.
