"""The folder of this machine in which Spark writes what it does not keep: shuffled messages, libraries, sockets.

A job that is killed leaves it full. So nobody else may read it, and the next start empties it. It is not in the
checkpoint, which may lie on a network's disk, and is backed up.
"""

import os
import shutil
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from schemas.errors import CheckpointError
from schemas.files import write_errors


def scratch_of(checkpoint: Path) -> Path:
    """Of the jobs on one checkpoint that one user starts."""
    name = sha256(f"{os.getuid()} {checkpoint.resolve()}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"incident-risk-{name}")


def emptied_scratch(checkpoint: Path) -> Path:
    """The folder, without what a job that was killed left there. The caller holds the checkpoint's lock.

    Raises CheckpointError when it cannot be made, or is not ours alone: anybody may write beside it.
    """
    folder = scratch_of(checkpoint)
    remedy = "remove it, or set TMPDIR to another folder that this user may write"
    with write_errors(CheckpointError, folder, remedy=remedy):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise CheckpointError(f"{folder}, for what Spark shuffles, is a link or another user's", remedy)
        folder.chmod(0o700)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # Java may still be at its own end, and remove it too
            else:
                path.unlink(missing_ok=True)
    return folder
