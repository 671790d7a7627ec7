"""kafkatop, a dashboard for terminals (tests/kafkatop), in an environment of its own."""

import functools
import json
import subprocess
import venv

from .cache import TESTS, built, run

REQUIREMENTS = TESTS / "kafkatop" / "requirements.txt"


@functools.cache
def command() -> str:
    with built("kafkatop", [REQUIREMENTS]) as (folder, complete):
        if not complete:
            venv.create(folder / "venv", with_pip=True)
            run([folder / "venv" / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", REQUIREMENTS])
        return str(folder / "venv" / "bin" / "kafkatop")


def kafkatop(bootstrap: str, *arguments: str):
    """What it shows as JSON."""
    done = subprocess.run([command(), "--kafka-broker", bootstrap, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"kafkatop {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)
