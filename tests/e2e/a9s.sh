#!/usr/bin/env bash
# A bucket that an existing backup manager left, step by step as docs/a9s.md goes through the manager's guide: found, looked at, restored with the published
# pipeline and with Backstay, converted, and restored again. What openssl.sh shows of the format is not repeated.
# The guide's commands are kept as they are, with an unquoted $(ls).
# shellcheck disable=SC2046,SC2012
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

KEY=NYHD8MVmA55HEqoaYHpQaxfwEMcQ1wkI
printf '%s\n' "$KEY" > "$SCRATCH/key"
export BACKSTAY_PASSPHRASE_FILE=$SCRATCH/key
GUID=de2fe9e4-6535-423d-8709-dca87df7985c
OLDEST=$GUID-1740130000 MIDDLE=$GUID-1740216400123 AZURE=$GUID-1740302800 NEWEST=$GUID-1740389200456
DOCUMENT='{"backup_id":"ID","status":"done","size":272,"triggered_at":"2022-04-12T12:00:31.047Z","note":"é \u00e9"}'

CLUSTER=$SCRATCH/cluster
pg_start "$CLUSTER"
pg_on "$CLUSTER" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
pg_dump_of "$CLUSTER" > "$SCRATCH/cluster.sql"

# manager ID BYTES: one backup as the manager makes it: dumped, packed, encrypted, and split under names without leading zeros.
manager() {
    local file
    pg_on "$CLUSTER" pg_dumpall | gzip | openssl enc -aes256 -md md5 -pass "pass:$KEY" 2> /dev/null | split -a 4 -d -b "$2" - "bucket/$1-"
    for file in "bucket/$1"-*; do
        mv "$file" "bucket/$1-$((10#${file##*-}))" 2> /dev/null || true
    done
    printf '%s' "${DOCUMENT/ID/$1}" > "bucket/$1.json"
}

# The bucket: both widths of timestamps, parts beyond the tenth, and the single object of Azure, which has no document.
bucket() {
    mkdir bucket
    manager "$OLDEST" 512K
    manager "$MIDDLE" 3M
    manager "$NEWEST" 400K
    pg_on "$CLUSTER" pg_dumpall | gzip | openssl enc -aes256 -md md5 -pass "pass:$KEY" 2> /dev/null > "bucket/$AZURE"
    cp -a bucket untouched
}

published() {
    cat $(ls -1v "$1"-*) \
        | openssl enc -aes256 -md md5 -d -pass "pass:$KEY" 2> /dev/null \
        | gunzip -c
}

published_azure() {
    cat "$1" \
        | openssl enc -aes256 -md md5 -d -pass "pass:$KEY" 2> /dev/null \
        | gunzip -c
}

it_finds_the_backups_in_the_order_of_their_times_and_shows_their_documents() {
    bucket
    exits 0 backstay list -s bucket --guid "$GUID"
    diff <(grep -o "$GUID-[0-9]*" out) <(printf '%s\n' "$OLDEST" "$MIDDLE" "$AZURE" "$NEWEST")
    exits 0 backstay show "$NEWEST" -s bucket --objects
    [[ $(grep -c "^object .*$NEWEST-" out) -gt 10 ]] || fail "with so few parts nobody sees that 10 comes after 9"
    exits 0 backstay show "$NEWEST" -s bucket --document
    same "bucket/$NEWEST.json" out
    refuses usage.arguments backstay show "$AZURE" -s bucket --document
    exits 0 backstay verify latest -s bucket --guid "$GUID"
    diff -r bucket untouched
}

it_restores_each_form_as_the_published_pipeline_does() {
    local id
    bucket
    for id in "$OLDEST" "$MIDDLE" "$NEWEST"; do
        (cd bucket && published "$id") > wanted
        exits 0 backstay restore "$id" -s bucket --format openssl -o "$id.dump"
        same wanted "$id.dump"
    done
    (cd bucket && published_azure "$AZURE") > wanted
    exits 0 backstay restore "$AZURE" -s bucket --format openssl -o azure.dump
    same wanted azure.dump
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore "$AZURE" -s bucket --format openssl -- psql -X --quiet postgres
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/cluster.sql" restored.sql
}

it_converts_the_bucket_and_the_new_archives_restore_into_a_server() {
    local id
    bucket
    new_key
    exits 0 backstay copy --all -s bucket --to native --to-format native -r "$RECIPIENT" --part-size 1MiB
    diff -r bucket untouched
    exits 0 backstay list -s native
    diff <(grep -o "$GUID-[0-9]*" out) <(printf '%s\n' "$OLDEST" "$MIDDLE" "$AZURE" "$NEWEST")
    for id in "$OLDEST" "$MIDDLE" "$NEWEST"; do
        exits 0 backstay cat "$id" -s native -i key.txt
        (cd bucket && published "$id") | cmp - out
        exits 0 backstay show "$id" -s native -i key.txt --document
        same "bucket/$id.json" out
    done
    exits 0 backstay show "$OLDEST" -s native --json
    [[ $(jq -r .created out) == 2025-02-21T09:26:40Z ]] || fail "the time is not kept: $(cat out)"
    # What the manifest says of the old objects, with stock tools.
    [[ $(jq -r .converted.root out) == "$(sha256_of_digests "bucket/$OLDEST")" ]] || fail "the root is another: $(cat out)"
    # The password opens nothing there, the reference reader does with the key.
    refuses key.not-found backstay cat "$OLDEST" -s native --passphrase-file "$SCRATCH/key"
    env -u BACKSTAY_PASSPHRASE_FILE "$PYTHON" "$REPOSITORY/spec/reference/read.py" native "$AZURE" --identity key.txt > azure.sql
    (cd bucket && published_azure "$AZURE") | cmp - azure.sql
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore "$NEWEST" -s native -i key.txt -- psql -X --quiet postgres
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/cluster.sql" restored.sql
    cp -a native before
    exits 0 backstay copy --all -s bucket --to native --to-format native -r "$RECIPIENT"
    [[ $(grep -c 'all there already' out) -eq 4 ]] || fail "it was converted again: $(cat out)"
    diff -r native before
}

# sha256_of_digests PREFIX: SHA-256 over the digests of its parts, joined in order.
sha256_of_digests() { sha256sum $(ls -1v "$1"-*) | cut -c 1-64 | tr -d '\n' | xxd -r -p | sha256sum | cut -c 1-64; }

it_passes_over_a_damaged_backup_and_begins_it_again_when_it_is_mended() {
    bucket
    new_key
    truncate -s -16 "bucket/$MIDDLE-$(($(ls "bucket/$MIDDLE"-* | wc -l) - 1))"
    exits 20 backstay copy --all -s bucket --to native --to-format native -r "$RECIPIENT" --part-size 1MiB
    says err "$MIDDLE is not converted"
    exits 0 backstay list -s native
    [[ $(grep -c "$GUID" out) -eq 3 ]] || fail "list says: $(cat out)"
    refuses archive.uncommitted backstay cat "$MIDDLE" -s native -i key.txt
    rm -r bucket
    cp -a untouched bucket
    refuses name.taken backstay copy "$MIDDLE" -s bucket --to native --to-format native -r "$RECIPIENT"
    exits 0 backstay copy "$MIDDLE" -s bucket --to native --to-format native -r "$RECIPIENT" --restart
    exits 0 backstay cat "$MIDDLE" -s native -i key.txt
    (cd bucket && published "$MIDDLE") | cmp - out
}

it_gives_the_bucket_back_to_the_published_pipeline() {
    local id
    bucket
    new_key
    exits 0 backstay copy "$OLDEST" -s bucket --to native --to-format native -r "$RECIPIENT"
    "$BACKSTAY" cat "$OLDEST" -s native -i key.txt 2> /dev/null | exits 0 backstay backup -s again --format openssl --guid "$GUID" --part-size 512KiB
    id=$(id_in again)
    [[ $id == "$GUID"-* ]] || fail "the guid is another one: $id"
    (cd again && published "$id") > restored
    (cd bucket && published "$OLDEST") | cmp - restored
}

run_cases "$@"
