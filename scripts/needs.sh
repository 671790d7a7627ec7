# shellcheck shell=bash
# What a script needs from the machine. Sourced after lib.sh.
#
# Each need_* function looks and, where something is missing, adds to MISSING. provide_needs then installs what apt can
# install (root on Debian or its kin) or prints the exact line to run and exits 1. The Rust toolchain is never
# installed behind the user's back: rustup owns it.

MISSING_PACKAGES=()
MISSING_REASONS=()

# Oldest Rust that builds this: Cargo.toml says it, once.
rust_floor() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# version_at_least HAVE WANT: dotted numbers.
version_at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

missing() { # missing PACKAGE REASON
    MISSING_PACKAGES+=("$1")
    MISSING_REASONS+=("$2")
}

# need_command COMMAND PACKAGE PURPOSE
need_command() {
    command -v "$1" >/dev/null 2>&1 || missing "$2" "$1 ($3)"
}

need_c_toolchain() {
    need_command cc build-essential "C compiler, for librdkafka and zstd"
    need_command c++ build-essential "C++ compiler, for librdkafka"
    need_command make build-essential "for librdkafka"
    need_command pkg-config pkg-config "finds system libraries"
}

need_python() {
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        missing python3-venv "python3 with venv (Python clients in the tests)"
        command -v python3 >/dev/null 2>&1 || MISSING_PACKAGES+=(python3)
    fi
}

# Java 17 or newer, with the compiler, and Maven.
need_java() {
    local major=0
    if command -v javac >/dev/null 2>&1 && command -v java >/dev/null 2>&1; then
        major="$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)"
    fi
    if ((${major:-0} < 17)); then missing default-jdk-headless "Java 17 or newer (Java clients in the tests)"; fi
    need_command mvn maven "brings the Java clients and the protocol's message definitions"
}

need_node() {
    need_command node nodejs "kafkajs in the tests"
    need_command npm npm "kafkajs in the tests"
}

need_kcat() { need_command kcat kcat "kcat in the tests"; }

need_strace() { need_command strace strace "delays syncs in the tests, to see what waits for them"; }

need_shellcheck() { need_command shellcheck shellcheck "checks these scripts"; }

on_debian() { [[ -e /etc/debian_version ]] && command -v apt-get >/dev/null 2>&1; }

# Installs what the need_* functions found missing, or says how and exits 1.
provide_needs() {
    ((${#MISSING_PACKAGES[@]})) || return 0
    local packages reason
    packages="$(printf '%s\n' "${MISSING_PACKAGES[@]}" | sort -u | tr '\n' ' ')"
    packages="${packages% }"
    say "missing on this machine:"
    for reason in "${MISSING_REASONS[@]}"; do say "  - $reason"; done
    if ! on_debian; then
        die "Install these with your system's package manager, then run this again. Debian calls them: $packages"
    fi
    if ((EUID != 0)); then
        die "Install them, then run this again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages"
    fi
    # shellcheck disable=SC2086  # a list of words on purpose
    section "installing with apt: $packages (about a minute)" apt_install $packages
    MISSING_PACKAGES=()
    MISSING_REASONS=()
}

# Quiet unless it fails: then the whole log is what the user needs.
apt_install() {
    local log
    log="$(mktemp)"
    if { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
}

# need_rust build|lint: a Rust toolchain that is new enough, for lint with rustfmt and clippy. Says exactly what to run when it is not there.
need_rust() {
    local floor have
    floor="$(rust_floor)"
    # rustup installs here, and a shell started before that does not have it in PATH.
    if ! command -v cargo >/dev/null 2>&1 && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    if ! have="$(cargo --version 2>/dev/null)"; then
        if command -v rustup >/dev/null 2>&1; then
            die "rustup is here but has no toolchain. Run this, then try again:
  rustup default stable"
        fi
        die "Rust $floor or newer is needed and there is no working cargo here. One of these brings it:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh      (any system)
  sudo apt-get install -y rustup && rustup default stable             (Debian 13 and newer)
Then run this again."
    fi
    have="$(sed -n 's/^cargo \([0-9.]*\).*/\1/p' <<<"$have")"
    if ! version_at_least "$have" "$floor"; then
        if command -v rustup >/dev/null 2>&1; then
            die "Rust $have is too old: $floor or newer is needed. Run this, then try again:
  rustup toolchain install stable --profile minimal --component clippy,rustfmt && rustup default stable"
        fi
        die "Rust $have ($(command -v cargo)) is too old: $floor or newer is needed. This brings it beside the old one:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
Then open a new shell and run this again."
    fi
    [[ "${1:-}" == lint ]] || return 0
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        die "rustfmt and clippy are needed. Run this, then try again:
  rustup component add rustfmt clippy"
    fi
}
