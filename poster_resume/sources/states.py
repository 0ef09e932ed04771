"""What tells one state of a file from another: size, time of change, inode.

The device's number is no part of it: it changes when a disk is mounted anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..records import SameFile


@dataclass(frozen=True, slots=True)
class FileState:
    """The status of a file when it was planned; *size* in bytes."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Return what *status* says."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    def validator(self, same_file: SameFile) -> str:
        """Return a string that differs when a file counts as another one."""
        if same_file == "strict":
            return f"{self.size}-{self.mtime_ns}-{self.inode}"
        return f"{self.size}-{self.mtime_ns}"

    def difference(self, now: FileState, same_file: SameFile) -> str | None:
        """Say how *now* differs from what was planned; None if it does not."""
        if now.size < self.size:
            return f"it has shrunk from {self.size} to {now.size} bytes"
        if now.size > self.size:
            return f"it has grown from {self.size} to {now.size} bytes"
        if same_file == "strict" and now.inode != self.inode:
            return (
                f"it was replaced by another file (inode {now.inode}, not "
                f'{self.inode}); if its file system has no lasting inodes, same_file="'
                'size+mtime" leaves them out'
            )
        if now.mtime_ns != self.mtime_ns:
            return (
                f"it was modified (its mtime is {now.mtime_ns / 1e9:.6f}, not "
                f"{self.mtime_ns / 1e9:.6f})"
            )
        return None
