#!/usr/bin/env bash
# The same over S3: a real server on loopback, which checks signatures and checksums.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

S3_SERVER=$(dirname "$BACKSTAY")/s3-server
[[ -x $S3_SERVER ]] || {
    echo "$0: $S3_SERVER is not there: cargo build --profile ci --workspace" >&2
    exit 2
}

# s3_server [MODE]: starts a server in this directory, with the bucket "backups", and points the environment at it.
s3_server() {
    mkdir -p objects/backups
    "$S3_SERVER" objects port "$@" &
    PIDS+=($!)
    wait_until 10 test -e port
    AWS_ENDPOINT_URL=http://127.0.0.1:$(< port)
    export AWS_ENDPOINT_URL AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    export BACKSTAY_STORE=s3://backups/pg
}

it_backs_up_a_server_and_restores_it() {
    s3_server
    new_key
    pg_start "$PWD/odd"
    pg_on "$PWD/odd" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
    exits 0 pg_on "$PWD/odd" "$BACKSTAY" backup -r "$RECIPIENT" --part-size 4MiB --name pg-main -- pg_dumpall
    exits 0 backstay list
    [[ $(grep -c committed out) -eq 1 ]] || fail "list says: $(cat out)"
    for depth in quick full deep; do
        exits 0 backstay verify latest -i key.txt --depth "$depth"
    done
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore latest -i key.txt -- psql -X -q
    pg_dump_of "$PWD/odd" > was.sql
    pg_dump_of "$PWD/fresh" > is.sql
    same was.sql is.sql
}

it_sees_a_byte_that_the_store_changed() {
    local part
    s3_server
    new_key
    noise 9000000 changed > content
    exits 0 backstay backup -r "$RECIPIENT" --part-size 4MiB --name files < content
    part=$(find objects/backups/pg -name '*-1')
    printf '\xff' | dd of="$part" bs=1 seek=2000000 conv=notrunc status=none
    refuses part.digest backstay verify latest --depth full
    refuses segment.auth backstay verify latest -i key.txt --depth deep
    refuses segment.auth backstay cat latest -i key.txt
    cmp -n "$(stat -c %s out)" content out || fail "wrong bytes were released"
    rm "$part"
    refuses part.missing backstay verify latest --depth quick
}

it_names_wrong_credentials() {
    s3_server
    new_key
    export AWS_SECRET_ACCESS_KEY=wrong
    refuses store.denied backstay backup -r "$RECIPIENT" -- echo content
    refuses store.denied backstay list
    export AWS_ACCESS_KEY_ID=nobody
    refuses store.denied backstay backup -r "$RECIPIENT" -- echo content
    [[ -z $(find objects/backups -type f) ]] || fail "something was stored"
    if grep -rF wrong out err; then
        fail "the secret is shown"
    fi
}

it_asks_for_credentials_when_there_are_none() {
    s3_server
    new_key
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    refuses usage.credentials backstay backup -r "$RECIPIENT" -- echo content
}

it_names_a_bucket_that_is_missing() {
    s3_server
    new_key
    export BACKSTAY_STORE=s3://no-such-bucket/pg
    refuses store.not-found backstay backup -r "$RECIPIENT" -- echo content
    says err no-such-bucket
    refuses store.not-found backstay list
    refuses store.not-found backstay cat de2fe9e4-6535-423d-8709-dca87df7985c-1740130000000 -i key.txt
}

it_warns_of_a_store_that_ignores_conditions_and_does_there_what_is_safe() {
    s3_server ignore-conditions
    new_key
    noise 9000000 careless > content
    exits 0 backstay backup -r "$RECIPIENT" --part-size 4MiB --name files < content
    says err 'warning[store.condition-ignored]: '
    exits 0 backstay verify latest -i key.txt
    exits 0 backstay cat latest -i key.txt
    same content out
    exits 0 backstay backup --json -r "$RECIPIENT" --name files < content
    jq -e -s 'any(.type == "warning" and .code == "store.condition-ignored")' err > /dev/null || fail "no event: $(cat err)"
    exits 0 backstay key generate other.txt
    refuses store.condition-ignored backstay key rewrap latest -i key.txt -r "$(< out)"
}

it_gives_up_on_a_server_that_is_not_there() {
    s3_server
    new_key
    kill "${PIDS[0]}"
    wait "${PIDS[0]}" || true
    refuses store.failed timeout 120 "$BACKSTAY" backup -r "$RECIPIENT" -- echo content
}

it_commits_nothing_when_the_source_fails() {
    s3_server
    new_key
    refuses source.failed backstay backup -r "$RECIPIENT" --part-size 4MiB -- sh -c 'openssl rand 9000000; exit 1'
    [[ -z $(find objects/backups -name '*.json') ]] || fail "there is a manifest"
    exits 0 backstay backup -r "$RECIPIENT" -- echo content
    exits 0 backstay cat latest -i key.txt
    says out content
}

run_cases "$@"
