"""Where state lives on disk, and who may see it.

Directories are made with mode 0700 and files with 0600, whatever the umask is.
A directory that was there before us keeps its mode: it may be shared for other
reasons. The path is computed when it is needed, never on import.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import platformdirs

#: The environment variable that replaces the default directory.
ENVIRONMENT = "POSTER_RESUME_STATE"

REMEDY = (
    f"make it writable, name another directory by store= or {ENVIRONMENT}, "
    "or pass store=None to keep no state"
)

# Write-ahead logging needs memory that all users of the file share
# (sqlite.org/wal.html, "WAL does not work over a network filesystem"). Unknown
# kinds of FUSE count as remote: rollback journals work on all of them.
_REMOTE = re.compile(
    r"nfs\d*|cifs|smb\w*|ncpfs|afs|coda|9p|ceph|glusterfs|lustre|gpfs|beegfs\w*|"
    r"orangefs|pvfs2|virtiofs|vboxsf|prl_fs|vmhgfs|acfs|davfs|fuse|fuse\..*"
)


def default_directory() -> Path:
    """Return ``POSTER_RESUME_STATE``, else the user's state directory."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return Path(override).expanduser().absolute()
    return platformdirs.user_state_path("poster-resume", appauthor=False)


def make_private_directory(path: Path) -> None:
    """Make *path* and what is missing above it, each with mode 0700.

    Raises:
        OSError: it cannot be made, or something else stands there.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_private_directory(path.parent)
    try:
        path.mkdir(0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(0o700)  # a umask may have taken even our own bits


def make_private_file(path: Path) -> None:
    """Make the file *path*, empty, with mode 0600.

    Raises:
        FileExistsError: it exists.
        OSError: it cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)


def keep_private(path: Path) -> None:
    """Take *path* away from everyone but its owner, if it is there and ours."""
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def sync_directory(path: Path) -> None:
    """Make names in *path* durable, where the system can (POSIX)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_remote(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether *path* is on a network file system, as far as can be told.

    *mounts* is the kernel's table (proc(5)); where there is none (macOS,
    Windows) only UNC paths are known to be remote.
    """
    real = Path(os.path.realpath(path))
    if real.drive.startswith(("\\\\", "//")):
        return True
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    kind, depth = "", -1
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        columns = fields.split(" ")
        if len(columns) < 5 or not rest:
            continue
        point = Path(_unescaped(columns[4]))
        # What is mounted later hides what was mounted at the same point before.
        if real.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = rest.split(" ", 1)[0], len(point.parts)
    return _REMOTE.fullmatch(kind) is not None


def _unescaped(text: str) -> str:
    """Undo the kernel's octal escapes for blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
