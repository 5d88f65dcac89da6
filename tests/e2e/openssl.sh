#!/usr/bin/env bash
# The published recovery guide of an existing backup manager (pg_dumpall | gzip | openssl | split), as a test in both directions: what its
# pipeline wrote is restored by Backstay, and what Backstay writes is restored by its commands, word for word.
# The guide's commands are kept as they are, with an unquoted $(ls).
# shellcheck disable=SC2046,SC2012
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

KEY=NYHD8MVmA55HEqoaYHpQaxfwEMcQ1wkI
printf '%s\n' "$KEY" > "$SCRATCH/password"
PASSWORD=(--passphrase-file "$SCRATCH/password")
SECONDS_ID=de2fe9e4-6535-423d-8709-dca87df7985c-1740130000
MILLIS_ID=b6f4c071-ef44-4af2-9608-531b4ce4823f-1548967947154

ODD=$SCRATCH/odd
pg_start "$ODD"
pg_on "$ODD" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
pg_dump_of "$ODD" > "$SCRATCH/odd.sql"
pg_on "$ODD" pg_dumpall > "$SCRATCH/dump.sql"

# The pipeline of the backup manager.
encrypted() { gzip | openssl enc -aes256 "$@" -pass "pass:$KEY" 2> /dev/null; }

# without_zeros ID: object names as <id>-0, <id>-1, … instead of <id>-00, <id>-01, …
without_zeros() {
    local file
    for file in "$1"-0?*; do
        mv "$file" "$1-$((10#${file##*-}))"
    done
}

it_restores_the_split_archive_of_the_guide_into_a_server() {
    local parts
    mkdir store
    encrypted -md md5 < "$SCRATCH/dump.sql" | split -b 512K -d - "store/$SECONDS_ID-"
    (cd store && without_zeros "$SECONDS_ID")
    printf '{"backup_id":"%s","size":1}\n' "$SECONDS_ID" > "store/$SECONDS_ID.json"
    parts=("store/$SECONDS_ID"-*)
    ((${#parts[@]} > 10)) || fail "with ${#parts[@]} parts nobody sees that 10 comes after 9"
    cp -a store untouched
    exits 0 backstay list -s store
    says out "$SECONDS_ID"
    exits 0 backstay verify -s store "$SECONDS_ID" "${PASSWORD[@]}"
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore -s store "$SECONDS_ID" "${PASSWORD[@]}" -- psql -X -q postgres
    says err 'not authenticated'
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
    diff -r store untouched
}

it_reads_padded_indices_milliseconds_and_every_usual_derivation() {
    local arguments
    for arguments in '-md md5' '-md sha1' '-md sha256' '-pbkdf2' '-pbkdf2 -md sha1 -iter 1000'; do
        rm -rf store
        mkdir store
        # shellcheck disable=SC2086 # these are words
        encrypted $arguments < "$SCRATCH/dump.sql" | split -b 3M -d -a 4 - "store/$MILLIS_ID-"
        case $arguments in
            '-pbkdf2 -md sha1 -iter 1000') exits 0 backstay restore -s store "$MILLIS_ID" "${PASSWORD[@]}" --md sha1 --pbkdf2-iter 1000 -o dump.sql ;;
            *) exits 0 backstay restore -s store "$MILLIS_ID" "${PASSWORD[@]}" -o dump.sql ;;
        esac
        same "$SCRATCH/dump.sql" dump.sql
        rm dump.sql
    done
}

it_reads_the_single_object_of_the_guide() {
    mkdir store
    encrypted -md md5 < "$SCRATCH/dump.sql" > "store/$MILLIS_ID"
    exits 0 backstay cat -s store "$MILLIS_ID" "${PASSWORD[@]}"
    same "$SCRATCH/dump.sql" out
}

it_says_that_a_password_is_wrong_before_any_output() {
    mkdir store
    encrypted -md md5 < "$SCRATCH/dump.sql" | split -b 512K -d - "store/$SECONDS_ID-"
    echo wrong > wrong
    refuses openssl.key backstay cat -s store "$SECONDS_ID" --passphrase-file wrong
    [[ ! -s out ]] || fail "something was released"
}

it_joins_the_parts_for_openssl() {
    mkdir store
    encrypted -md md5 < "$SCRATCH/dump.sql" | split -b 512K -d - "store/$SECONDS_ID-"
    exits 0 backstay reassemble -s store "$SECONDS_ID" "${PASSWORD[@]}" --join joined
    cat $(ls -1v "store/$SECONDS_ID"-*) > wanted
    same wanted joined
}

# The guide's commands, with its own names for what differs.
guide_decrypts_split() {
    cat $(ls -1v "$1"-*) \
        | openssl enc -aes256 -md md5 -d -pass "pass:$KEY" \
        | gunzip -c > "$2/$1.dump"
}
guide_decrypts_single() {
    cat "$1" \
        | openssl enc -aes256 -md md5 -d -pass "pass:$KEY" \
        | gunzip -c > "$2/$1.dump"
}

it_writes_what_the_commands_of_the_guide_restore() {
    local id parts
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store --format openssl "${PASSWORD[@]}" --part-size 512KiB --name pg-main -- pg_dumpall
    id=$(id_in store)
    parts=("store/$id"-*)
    ((${#parts[@]} > 10)) || fail "with ${#parts[@]} parts nobody sees that 10 comes after 9"
    (cd store && guide_decrypts_split "$id" ..) 2> err
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" psql -X --quiet postgres < "$id.dump"
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
    exits 0 backstay cat -s store latest "${PASSWORD[@]}"
    same "$id.dump" out
}

it_writes_the_single_object_of_the_guide() {
    local id
    exits 0 backstay backup -s store --format openssl --single "${PASSWORD[@]}" --name pg-main < "$SCRATCH/dump.sql"
    id=$(id_in store)
    (cd store && guide_decrypts_single "$id" ..) 2> err
    same "$SCRATCH/dump.sql" "$id.dump"
}

it_makes_the_loss_of_the_last_part_an_error_for_stock_tools_too() {
    local id
    exits 0 backstay backup -s store --format openssl "${PASSWORD[@]}" --part-size 512KiB --name pg-main < "$SCRATCH/dump.sql"
    id=$(id_in store)
    rm "$(ls -1v "store/$id"-* | tail -n 1)"
    cat $(ls -1v "store/$id"-*) | openssl enc -aes256 -md md5 -d -pass "pass:$KEY" 2> /dev/null > joined.gz || true
    if gunzip -c < joined.gz > out 2> err; then
        fail "gunzip did not see that the last part is missing"
    fi
    refuses part.missing backstay cat -s store "$id" "${PASSWORD[@]}"
}

run_cases "$@"
