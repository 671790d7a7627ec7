# shellcheck shell=bash
# The tests' environment: clients, Python packages, the broker binary. Sourced after lib.sh and needs.sh.

need_test_clients() {
    need_python
    need_java
    need_node
    need_kcat
    need_strace
}

# Sets TEST_PYTHON: a Python with tests/requirements.txt installed, outside the checkout, keyed by that file.
provide_test_python() {
    local key folder
    key="$({ cat "$REPO_ROOT/tests/requirements.txt" && python3 --version; } | sha256sum | cut -c1-16)"
    folder="${XDG_CACHE_HOME:-$HOME/.cache}/buslane/python-$key"
    # shellcheck disable=SC2034  # read by the scripts that source this
    TEST_PYTHON="$folder/bin/python"
    [[ -e "$folder/complete" ]] && return 0
    section "Python clients for the tests: under a minute, once" build_test_python "$folder"
}

build_test_python() { # build_test_python FOLDER
    mkdir -p "$1"
    (
        flock 9
        [[ -e "$1/complete" ]] && exit 0
        python3 -m venv "$1"
        "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$REPO_ROOT/tests/requirements.txt" </dev/null
        touch "$1/complete"
    ) 9>"$1.lock"
}

# Sets BUSLANE_BIN unless the caller did.
provide_broker_binary() {
    if [[ -z "${BUSLANE_BIN:-}" ]]; then
        need_rust build
        need_c_toolchain
        provide_needs
        local estimate="about 6 minutes the first time"
        if built_before debug/buslane; then estimate="seconds when little changed"; fi
        section "building the broker: $estimate" cargo build --locked -q -p buslane
        BUSLANE_BIN="$CARGO_TARGET_DIR/debug/buslane"
    fi
    export BUSLANE_BIN
}

# Thousands of connections need as many file descriptors, here and in the broker.
raise_file_limit() { ulimit -n "$(ulimit -H -n)" 2>/dev/null || true; }
