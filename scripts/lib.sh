# shellcheck shell=bash
# What every script shares: where things are, how a section announces itself, how long it took.
# Sourced, never run. Everything said here goes to stderr, so a script's stdout stays its own.

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$REPO_ROOT" || exit 1

# One target folder for every checkout of this user: a second clone builds in seconds.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/buslane/target}"

if [[ -t 2 && -z "${NO_COLOR:-}" ]]; then
    STYLE_BOLD=$'\e[1m' STYLE_RED=$'\e[31m' STYLE_END=$'\e[0m'
else
    STYLE_BOLD='' STYLE_RED='' STYLE_END=''
fi

say() { printf '%s\n' "$*" >&2; }

die() {
    printf '%s%s%s\n' "$STYLE_RED" "$*" "$STYLE_END" >&2
    exit 1
}

# clock SECONDS: 75 -> 1m15s
clock() {
    if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi
}

# section TITLE COMMAND...: a header, the command, and how long it took. Fails as the command fails. A function given as
# COMMAND runs without bash's `set -e` (that is what looking at its exit code costs): its steps say `|| return`.
section() {
    local title="$1" start="$SECONDS" status=0
    shift
    say ""
    say "${STYLE_BOLD}== $title${STYLE_END}"
    "$@" || status=$?
    if ((status == 0)); then
        say "== done in $(clock $((SECONDS - start))): $title"
    else
        say "${STYLE_RED}== failed with exit code $status after $(clock $((SECONDS - start))): $title${STYLE_END}"
    fi
    return "$status"
}

# built_before FILE: has this target folder ever been built as far as FILE (relative to it)? Decides which estimate to show.
built_before() { [[ -e "$CARGO_TARGET_DIR/$1" ]]; }
