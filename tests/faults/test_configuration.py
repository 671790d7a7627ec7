"""A wrong configuration is refused at once, by a sentence that names the place and what would be right."""

import socket
import subprocess

import pytest

from harness.broker import buslane_binary, free_port


def start_with(tmp_path, text: str | None, *flags: str) -> tuple[int, str]:
    """Exit code and output of a server that must not start."""
    command = [str(buslane_binary()), "server", "--http", "off", *flags]
    if text is not None:
        config = tmp_path / "buslane.toml"
        config.write_text(text)
        command += ["--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.returncode != 0
    assert "panicked" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[limits]\nmemroy = '1GiB'\n", ["buslane.toml:2", "memroy", "memory"]),
        ("[limts]\nmemory = '1GiB'\n", ["buslane.toml", "limts", "limits"]),
        ("[topics]\nretention = '10 parsecs'\n", ["buslane.toml:2", "retention", "10 parsecs"]),
        ("[topics]\n\n\nsegment_bytes = 5\n", ["buslane.toml:4", "segment_bytes"]),
        ("[topics]\nsegment_bytes = '5TiB'\n", ["buslane.toml:2", "segment_bytes", "2047MiB"]),
        ("[topics]\npartitions = 'many'\n", ["buslane.toml:2", "partitions", "many"]),
        ("[server]\nlisten = 'somewhere'\n", ["buslane.toml:2", "listen", "somewhere"]),
        ("[server]\nlisten = '0.0.0.0:9092'\n", ["buslane.toml:2", "127.0.0.1"]),
        ("[limits]\nmemory = '1MiB'\n", ["buslane.toml:2", "memory", "request_max"]),
        ("this is no TOML\n", ["buslane.toml:1"]),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(tmp_path, text, says):
    code, output = start_with(tmp_path, text, "--data", str(tmp_path / "data"))
    assert code == 2
    for part in says:
        assert part in output, output
    assert not (tmp_path / "data").exists(), "a wrong configuration must not touch the disk"


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    _, output = start_with(tmp_path, "[limits]\nmemroy = '1GiB'\n[topics]\nretention = '10 parsecs'\n")
    assert "memroy" in output and "parsecs" in output


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--listen", "nowhere"], ["--listen", "nowhere"]),
        (["--listen", "0.0.0.0:9092"], ["--listen", "127.0.0.1"]),
        (["--lisen", "127.0.0.1:9092"], ["--lisen", "--listen"]),
        (["--advertise", "host-without-port"], ["--advertise", "host-without-port"]),
        (["--config", "missing.toml"], ["missing.toml"]),
    ],
)
def test_a_wrong_flag_is_refused_with_its_name(tmp_path, flags, says):
    code, output = start_with(tmp_path, None, "--data", str(tmp_path / "data"), *flags)
    assert code == 2
    for part in says:
        assert part in output, output


def test_an_address_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        _, output = start_with(tmp_path, None, "--data", str(tmp_path / "data"), "--listen", address)
        assert address in output, output


def test_a_data_path_that_is_a_file_is_named(tmp_path):
    (tmp_path / "data").write_text("I am a file")
    _, output = start_with(tmp_path, None, "--data", str(tmp_path / "data"), "--listen", f"127.0.0.1:{free_port()}")
    assert str(tmp_path / "data") in output, output
    assert (tmp_path / "data").read_text() == "I am a file"
