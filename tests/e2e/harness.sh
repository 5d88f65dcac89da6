# shellcheck shell=bash
# The harness of the end-to-end tests. A test file sources it first, then defines its cases, each a function whose name is a sentence that
# begins with "it_", then calls `run_cases`. A case runs in a shell of its own under `set -euo pipefail`, in an empty directory; what it prints
# is shown if it fails. The last line of a file's output is `N passed, N failed`, and its exit status is 1 if any failed.
#
#   BACKSTAY=path tests/e2e/FILE.sh [CASE...]

set -euo pipefail
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # for the test files
E2E=$REPOSITORY/tests/e2e PYTHON=$REPOSITORY/target/venv/bin/python
BACKSTAY=$(realpath "${BACKSTAY:-$REPOSITORY/target/ci/backstay}")
[[ -x $BACKSTAY ]] || {
    echo "$0: $BACKSTAY is not there: cargo build --profile ci" >&2
    exit 2
}

# Nothing of the caller's own configuration may matter.
while IFS= read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(BACKSTAY_|AWS_|AZURE_|GOOGLE_|STORAGE_EMULATOR_HOST|PG[A-Z]|XDG_)')
export BACKSTAY LC_ALL=C.UTF-8 AWS_EC2_METADATA_DISABLED=true
# shellcheck source=scripts/postgres.sh
. "$REPOSITORY/scripts/postgres.sh"

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/backstay-e2e.XXXXXX")
# The user that servers run as must be able to pass through.
chmod 755 "$SCRATCH"
export HOME=$SCRATCH/home
mkdir "$HOME"
PIDS=()

# Ends the processes in PIDS and the PostgreSQL servers that this shell started.
end_servers() {
    local pid
    for pid in "${PIDS[@]}"; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    pg_stop_all
}
trap 'end_servers; rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT TERM

backstay() { "$BACKSTAY" "$@"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# exits STATUS COMMAND...: runs it with its output in ./out and ./err, and demands this exit status.
exits() {
    local wanted=$1 status=0
    shift
    "$@" > out 2> err || status=$?
    [[ $status -eq $wanted ]] || {
        cat err >&2
        fail "exit status $status instead of $wanted: $*"
    }
}

# refuses CODE COMMAND...: demands that it fails with this error code and the exit status that the specification gives to the code.
refuses() {
    local code=$1 status
    shift
    status=$(awk -F ' *[|] *' -v code="\`$code\`" '$2 == code { print $4 }' "$REPOSITORY/spec/errors.md")
    [[ -n $status ]] || fail "$code is not in spec/errors.md"
    exits "$status" "$@"
    grep -qF "error[$code]: " err || {
        cat err >&2
        fail "the error is not $code: $*"
    }
}

# same FILE FILE: demands equal bytes.
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# says FILE TEXT: demands that the text is in the file.
says() { grep -qF -- "$2" "$1" || {
    cat "$1" >&2
    fail "$1 does not say: $2"
}; }

# nothing_committed STORE: demands that no manifest is in a directory store.
nothing_committed() {
    local found
    found=$(find "$1" -maxdepth 1 -name '*.json')
    [[ -z $found ]] || fail "there is a manifest: $found"
}

# new_key: makes key.txt, and sets RECIPIENT to its public half.
new_key() {
    exits 0 backstay key generate key.txt
    RECIPIENT=$(grep -o -m 1 'age1[0-9a-z]*' key.txt)
    export RECIPIENT
}

# id_in STORE: the id of the only archive of a directory store.
id_in() {
    local manifests=("$1"/*.json)
    [[ ${#manifests[@]} -eq 1 && -e ${manifests[0]} ]] || fail "there is not one archive: ${manifests[*]}"
    basename "${manifests[0]}" .json
}

# measured FILE: demands of what `check --json` printed that all of it is there that is measured, each as a number.
measured() {
    jq -e '.type == "check" and .schema == 1 and .left == []
        and ([.latency_ms, .upload_bytes_per_second, .download_bytes_per_second, .clock_offset_ms] | all(type == "number" and . == floor))
        and .latency_ms >= 0 and .upload_bytes_per_second > 0 and .download_bytes_per_second > 0
        and (.items | length > 0 and all(keys == ["code", "text", "verdict", "what"]))' "$1" > /dev/null || fail "it is not all measured: $(cat "$1")"
}

# authority: makes ca.pem, an authority that nobody knows, and server.pem and server.key, which it vouches for as localhost.
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Backstay test' -keyout ca.key -out ca.pem 2> /dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' -keyout server.key -out server.csr 2> /dev/null
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
        -extfile <(echo 'subjectAltName=DNS:localhost') 2> /dev/null
}

# noise BYTES SEED: bytes that no codec makes smaller, the same ones for the same seed.
noise() { openssl enc -aes-128-ctr -nosalt -pass "pass:$2" -md sha256 < /dev/zero 2> /dev/null | head -c "$1" || true; }

# wait_until SECONDS COMMAND...: asks again and again until the command succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "waited in vain for: $*"
        sleep 0.02
    done
}

# cases: those that the test file defines, in its order.
cases() {
    local name
    shopt -s extdebug
    for name in $(compgen -A function it_); do
        declare -F "$name"
    done | sort -n -k 2 | cut -d ' ' -f 1
    shopt -u extdebug
}

# run_cases [CASE...]
run_cases() {
    local name dir status began passed=0 failed=0 file
    file=$(basename "$0" .sh)
    local chosen=("$@")
    ((${#chosen[@]} > 0)) || mapfile -t chosen < <(cases)
    for name in "${chosen[@]}"; do
        began=$EPOCHREALTIME
        # A short name: the path of a socket in it has at most 107 bytes.
        dir=$SCRATCH/$((passed + failed))
        mkdir "$dir"
        # In an `if` or before `||` the shell would forget about `set -e` inside.
        set +e
        (
            set -euo pipefail
            cd "$dir"
            PIDS=() PG_STARTED=()
            trap end_servers EXIT
            "$name"
        ) > "$dir.log" 2>&1 < /dev/null
        status=$?
        set -e
        if ((status == 0)); then
            passed=$((passed + 1))
            printf 'ok   %s: %s (%.1f s)\n' "$file" "$(spoken "$name")" "$(since "$began")"
        else
            failed=$((failed + 1))
            printf 'FAIL %s: %s\n' "$file" "$(spoken "$name")"
            sed 's/^/     | /' "$dir.log" | tail -n 60
        fi
        rm -rf "$dir"
    done
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0 && passed > 0))
}

spoken() { tr _ ' ' <<< "${1#it_}"; }
since() { awk -v began="$1" -v now="$EPOCHREALTIME" 'BEGIN { print now - began }'; }
