"""Faults of Buslane's own data folder and disk: nothing here has a counterpart in Apache Kafka's files."""

import os
import subprocess
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.buslane_only(reason="about Buslane's own data folder"))


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(megabytes): a file system of that size, in memory. Needs root; says so loudly where there is none."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        path = tmp_path / f"disk-{len(mounted)}"
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"NOT RUN: cannot mount a small file system here ({done.stderr.strip()}); run as root on Linux (uid {os.getuid()})")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        run("umount", "-l", path)
