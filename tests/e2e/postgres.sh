#!/usr/bin/env bash
# A real PostgreSQL server is dumped, backed up, and restored into another one.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

ODD=$SCRATCH/odd
pg_start "$ODD"
pg_on "$ODD" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
pg_dump_of "$ODD" > "$SCRATCH/odd.sql"

# restored_equals DIR: demands that the server in DIR holds what the odd one holds, and that psql, whose messages are in ./err,
# had one complaint: every server has the role "postgres", and so has every pg_dumpall.
restored_equals() {
    local complaints
    complaints=$(grep -E '(ERROR|FATAL|PANIC|WARNING):' err || true)
    [[ $complaints == 'ERROR:  role "postgres" already exists' ]] || fail "psql said: $complaints"
    pg_dump_of "$1" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
}

it_restores_a_pg_dumpall_of_an_odd_cluster_into_a_fresh_server() {
    new_key
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name pg-main -- pg_dumpall
    read -r id _ _ stored < out
    [[ $id == "$(id_in store)" ]] || fail "the receipt names $id"
    [[ $stored -eq $(cat "store/$id"-* | wc -c) ]] || fail "the receipt says that $stored bytes are stored"
    exits 0 backstay verify -s store latest -i key.txt
    pg_start "$PWD/fresh"
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore -s store latest -i key.txt -- psql -X -q
    restored_equals "$PWD/fresh"
}

it_restores_a_custom_format_dump_through_pg_restore() {
    local database='it'\''s a "quoted" database'
    new_key
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name shop -- pg_dump -Fc shop
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name quoted -- pg_dump -Fc "$database"
    pg_start "$PWD/fresh"
    pg_on "$ODD" pg_dumpall --globals-only | grep -v 'CREATE ROLE postgres;' | pg_on "$PWD/fresh" psql -X -q -v ON_ERROR_STOP=1
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore -s store shop -i key.txt -- pg_restore --exit-on-error --create -d postgres
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore -s store quoted -i key.txt -- pg_restore --exit-on-error --create -d postgres
    local name
    for name in shop "$database"; do
        pg_on "$ODD" pg_dump -Fp "$name" | grep -v '^\\\(un\)\?restrict ' | LC_ALL=C sort > was
        pg_on "$PWD/fresh" pg_dump -Fp "$name" | grep -v '^\\\(un\)\?restrict ' | LC_ALL=C sort > is
        same was is
    done
}

it_commits_nothing_when_the_server_ends_the_dump_in_its_middle() {
    new_key
    mkdir store
    pg_on "$ODD" psql -X -q -c "DO \$\$ BEGIN
        LOOP
            PERFORM pg_stat_clear_snapshot();
            PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'pg_dump' AND state = 'active' AND query LIKE 'COPY%documents%';
            EXIT WHEN FOUND;
            PERFORM pg_sleep(0.001);
        END LOOP;
    END \$\$" &
    PIDS+=($!)
    refuses source.failed pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" -- pg_dump shop
    says err 'ended with exit status 1'
    nothing_committed store
    # What it left is told by list, and the next run works.
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" -- pg_dump shop
    exits 0 backstay verify -s store latest -i key.txt
}

it_commits_nothing_when_the_dump_is_killed() {
    new_key
    mkdir store
    # shellcheck disable=SC2016 # $$ is the inner shell's
    refuses source.failed pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" -- sh -c 'pg_dumpall | head -c 3000000; kill -KILL $$'
    says err 'ended by signal 9'
    nothing_committed store
}

it_refuses_a_dump_that_was_cut_short_before_it_came_through_a_pipe() {
    new_key
    mkdir store
    local size
    pg_on "$ODD" pg_dumpall > dump.sql
    size=$(stat -c %s dump.sql)
    # One byte of the closing line is as telling as half of the dump.
    for bytes in $((size / 2)) $((size - 10)); do
        head -c "$bytes" dump.sql > cut.sql
        refuses source.trailer backstay backup -s store -r "$RECIPIENT" --progress never < cut.sql
        nothing_committed store
    done
    exits 0 backstay backup -s store -r "$RECIPIENT" --no-require-trailer < cut.sql
    exits 0 backstay backup -s store -r "$RECIPIENT" < dump.sql
    exits 0 backstay cat -s store latest -i key.txt
    same dump.sql out
}

it_fails_when_psql_fails() {
    new_key
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" -- pg_dumpall
    refuses target.failed pg_on "$ODD" "$BACKSTAY" restore -s store latest -i key.txt -- psql -X -q -v ON_ERROR_STOP=1
    says err ' already exists'
}

run_cases "$@"
