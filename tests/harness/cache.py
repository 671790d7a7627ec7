"""Where built test environments live: outside the checkout, keyed by what they are built from.

Two checkouts with the same requirements share one environment; a changed requirement builds a new one beside the old.
"""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
CHECKOUT = TESTS.parent


def cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "buslane"


@contextlib.contextmanager
def built(name: str, inputs: list[Path]):
    """Yields (folder, complete): the folder for these inputs, and whether it is already built.

    The caller builds into it when it is not; leaving the block without an exception marks it complete.
    """
    digest = hashlib.sha256(sys.version.encode())
    for path in inputs:
        digest.update(path.read_bytes())
    folder = cache_root() / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "complete"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = marker.exists()
        yield folder, complete
        marker.touch()


def run(command: list[str | Path], **options) -> None:
    """Runs a build step; its output is shown only when it fails."""
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command))} failed with exit code {done.returncode}:\n{done.stdout.decode(errors='replace')}"
        )
