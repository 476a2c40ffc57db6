"""Lets one process at a time write a run folder."""

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

    The system gives the lock back when a process ends, however it ends; the
    file that is left of a process that was killed locks nothing.

    Args:
        path: `pathlib.Path` of the lock file, in a folder that is there.

    Raises:
        BlockingIOError: If another process holds it; the message says which.

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
        # Before it is given back: who opened it meanwhile sees that it went.
        path.unlink(missing_ok=True)
        os.close(file)


def _acquired(path):
    """Returns a locked file that still stands at the path."""
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
    """Whether the file that was opened is still the one at the path."""
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
        pass  # a file system without locks, as some of clusters are
