# What the scripts share: where things are, and how a step is run (quietly, with a log, its end shown where it fails).
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
toolchain=$root/.toolchain
logs=$toolchain/log
jobs=$(nproc 2>/dev/null || echo 2)
mkdir -p "$logs"
cd "$root" || exit 1
case ":$PATH:" in *":$HOME/.cargo/bin:"*) ;; *) PATH=$PATH:$HOME/.cargo/bin ;; esac

say() { printf '%s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# run_logged WORDS COMMAND...: one line, "WORDS ... ok (12 s)"; a dot for each 10 seconds; on failure the end of the log.
# The log is $log afterwards.
run_logged() {
    local words=$1 start=$SECONDS status=0 ticks=0 pid
    shift
    log=$logs/$(printf '%s' "$words" | tr -c 'A-Za-z0-9\n' '-').log
    printf '%-52s ' "$words"
    set -m # a process group of its own, so that an interrupt ends all of it
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    # shellcheck disable=SC2064 # this pid
    trap "kill -TERM -- -$pid 2>/dev/null; say ' interrupted'; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        ticks=$((ticks + 1))
        if [ $((ticks % 50)) -eq 0 ]; then printf '.'; fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    if [ "$status" -eq 0 ]; then
        say " ok ($((SECONDS - start)) s)"
    else
        say " FAILED ($((SECONDS - start)) s)"
        grep -v '^\[[0-9 /%]*\]' "$log" | tail -n 40 | sed 's/^/    /' # without the build's progress
        say "    (all of it: ${log#"$root"/})"
    fi
    return "$status"
}

# The architectures that demo and test compile kernels for: those of the GPUs here, or one, so that it does not take minutes. A plain build of
# yours compiles them for all.
architectures() {
    local here=
    if have nvidia-smi; then here=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -xE '[0-9]+\.[0-9]' | tr -d . | sort -un | paste -sd ';'); fi
    printf '%s' "${EUM_CUDA_ARCHITECTURES:-${here:-90}}"
}

# build PRESET [cmake options, --, targets]: configures where needed and builds.
build() {
    local preset=$1 options=() targets=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
    if [ $# -gt 0 ]; then shift; fi
    if [ $# -gt 0 ]; then targets=(--target "$@"); fi
    if [ ! -e "build-$preset/CMakeCache.txt" ] && have ninja; then options+=(-G Ninja); fi
    cmake --preset "$preset" "${options[@]}" && cmake --build "build-$preset" --parallel "$jobs" "${targets[@]}"
}
