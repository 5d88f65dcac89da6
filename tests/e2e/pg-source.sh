#!/usr/bin/env bash
# PostgreSQL as a source: a whole server becomes a backup set and another server again, one database an archive, and one table is taken out
# of it. Where something fails on the way, there is no set.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

SLASHES='../up/and "down"'
ODD=$SCRATCH/odd
pg_start "$ODD"
pg_on "$ODD" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
pg_on "$ODD" createdb "$SLASHES"
pg_on "$ODD" createdb globals
pg_on "$ODD" createdb frozen
pg_on "$ODD" psql -X -q -d frozen -c 'CREATE TABLE t AS SELECT 42 AS answer' -c 'ALTER DATABASE frozen SET default_transaction_read_only = on'
pg_dump_of "$ODD" > "$SCRATCH/odd.sql"

# Its tables are large enough that not fetching the others shows.
MANY=$SCRATCH/many
pg_start "$MANY"
pg_on "$MANY" createdb many
# shellcheck disable=SC2016 # for the server
pg_on "$MANY" psql -X -q -v ON_ERROR_STOP=1 -d many -c 'DO $$ BEGIN
    FOR n IN 1..12 LOOP
        EXECUTE format($f$CREATE TABLE t%s AS SELECT i, encode(sha512((i * %s)::text::bytea), $h$base64$h$) AS x
            FROM generate_series(1, 30000) i$f$, n, n);
    END LOOP;
END $$' -c 'CREATE TABLE counter (n int)' -c 'INSERT INTO counter SELECT 1 FROM generate_series(1, 100)'

# backed_up DIR ARGUMENT...: backs the server in DIR up into ./store; a failure is the caller's matter.
backed_up() {
    local dir=$1
    shift
    pg_on "$dir" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name cluster "$@"
}

# no_set: demands that no set is there, and that what is there may be restored by itself.
no_set() {
    [[ -z $(find store -name '*.set.json') ]] || fail 'there is a set'
    [[ $(backstay list -s store --json | jq '.sets | length') == 0 ]] || fail 'a set is listed'
}

# restored_by_hand DIR: restores the files in ./files into the server in DIR, as docs/postgres.md says.
restored_by_hand() {
    local file
    local -x PGOPTIONS='-c default_transaction_read_only=off'
    pg_on "$1" psql -X -q -d postgres -f files/globals.sql 2> err
    [[ $(grep -E '(ERROR|FATAL|PANIC|WARNING):' err | sed 's/.*ERROR/ERROR/') == 'ERROR:  role "postgres" already exists' ]] || {
        cat err >&2
        fail 'globals.sql has other complaints'
    }
    for file in files/*.dump; do
        case $file in
            */postgres.dump | */template1.dump) pg_on "$1" pg_restore --exit-on-error -d "$(basename "$file" .dump)" "$file" ;;
            *) pg_on "$1" pg_restore --exit-on-error --create -d postgres "$file" ;;
        esac
    done
}

it_dumps_an_odd_server_into_a_set_and_restores_it_into_a_fresh_one() {
    new_key
    exits 0 backed_up "$ODD" --pg-dumpall --jobs 3
    read -r id _ _ members _ < out
    exits 0 backstay list -s store --json
    [[ $(jq -r '.sets[].state' out) == completed ]] || fail 'the set is not completed'
    # template0 is the one that is not in it.
    [[ $members -eq $(pg_on "$ODD" psql -XAtc 'SELECT count(*) FROM pg_database') ]] || fail "$members members"
    exits 0 backstay verify -s store cluster -i key.txt
    says out "$members members"
    exits 0 backstay restore -s store cluster -i key.txt -o files
    [[ -e 'files/%2E.%2Fup%2Fand%20%22down%22.dump' && -e files/globals.dump ]] || fail "$(ls files)"
    pg_start "$PWD/fresh"
    restored_by_hand "$PWD/fresh"
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
    # A set is copied with its members, and the reference reader knows it.
    exits 0 backstay copy -s store "$id" --to replica
    exits 0 backstay verify -s replica latest -i key.txt
    "$PYTHON" "$REPOSITORY/spec/reference/read.py" replica "$id" --set --identity key.txt > lines
    [[ $(wc -l < lines) -eq $members ]] || fail "$(cat lines)"
    # One of its members by name.
    exits 0 backstay cat -s store 'cluster/-rf' -i key.txt
    cmp out files/%2Drf.dump
}

it_restores_a_set_into_a_server_and_drills_it() {
    local into=(pg_on "$PWD/fresh" "$BACKSTAY" restore -s store cluster -i key.txt --to-db dbname=postgres) members
    new_key
    exits 0 backed_up "$ODD" --pg-dumpall --row-counts
    read -r id _ _ members _ < out
    pg_start "$PWD/fresh"
    exits 0 "${into[@]}"
    says err "the set $id, $members members, is in PostgreSQL"
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
    refuses target.not-empty "${into[@]}"
    # Each member is kept as proved, and the rows of every database are counted again.
    mkdir scratch
    chmod 1777 scratch
    exits 0 backstay drill -s store cluster -i key.txt --scratch-dir scratch --db shop --assert 'SELECT count(*) > 0 FROM orders' --json
    [[ $(jq '.recorded | length' out) -eq $members ]] || fail "kept: $(jq -c .recorded out)"
    [[ $(jq '[.checks[] | select(.name | startswith("rows of each table"))] | length' out) -ge 2 ]] || fail "$(jq -c .checks out)"
    [[ -z $(find scratch -mindepth 1) ]] || fail "left: $(find scratch)"
    exits 3 backstay drill -s store cluster -i key.txt --scratch-dir scratch --no-record --assert 'SELECT false'
    refuses usage.arguments backstay drill -s store cluster -i key.txt -- cat
    # A set of which something is missing is none.
    rm "store/$(backstay list -s store --json | jq -r '.archives[0].id').json"
    refuses set.incomplete backstay drill -s store cluster -i key.txt --scratch-dir scratch
    refuses set.incomplete "${into[@]}" --into-used
}

it_dumps_a_database_whose_name_pg_dumpall_itself_refuses() {
    local name=$'two\nlines'
    new_key
    pg_on "$MANY" createdb "$name"
    pg_on "$MANY" psql -X -q -d "dbname='$name'" -c 'CREATE TABLE t AS SELECT 42 AS answer'
    exits 1 pg_on "$MANY" pg_dumpall
    exits 0 backed_up "$MANY" --pg-dumpall --exclude-database many
    # No script goes there, so a set with it is said to be one for hands, and its member goes into any database.
    says err 'has a line break'
    mkdir -m 1777 scratch
    refuses target.failed backstay drill -s store cluster -i key.txt --scratch-dir scratch
    says err 'drill this member alone'
    refuses target.failed backstay restore -s store cluster -i key.txt --to-db "host=$MANY/socket user=postgres dbname=postgres" --into-used
    exits 0 backstay drill -s store "cluster/$name" -i key.txt --scratch-dir scratch --assert 'SELECT answer FROM t' --expect 42
    exits 0 backstay restore -s store cluster -i key.txt -o files
    pg_on "$MANY" dropdb "$name"
    pg_on "$MANY" pg_restore --exit-on-error --create -d postgres files/two%0Alines.dump
    [[ $(pg_on "$MANY" psql -XAt -d "dbname='$name'" -c 'SELECT answer FROM t') == 42 ]] || fail 'another answer'
    pg_on "$MANY" dropdb "$name"
}

it_notes_versions_sizes_and_the_rows_of_the_dumps_own_snapshot() {
    new_key
    # Rows come and go all the time, so that only one snapshot has one number.
    pg_on "$MANY" pgbench -n -d many -T 20 -f /dev/stdin > /dev/null 2>&1 <<< 'INSERT INTO counter VALUES (1);' &
    PIDS+=($!)
    wait_until 10 sh -c "[ \$(env PGHOST=$MANY/socket PGUSER=postgres psql -XAt -d many -c 'SELECT count(*) FROM counter') -gt 110 ]"
    exits 0 backed_up "$MANY" --pg-dump many --row-counts
    kill "${PIDS[-1]}"
    exits 0 backstay show -s store cluster -i key.txt --json
    [[ $(jq -r .source out) == pg_dump ]] || fail "$(jq .source out)"
    [[ $(jq '.private.postgres.database_size' out) -gt 30000000 ]] || fail 'no size'
    [[ $(jq -r '.private.postgres | "\(.server_number / 10000 | floor) \(.client)"' out) == "15 15."* ]] || fail "$(jq .private out)"
    local noted
    noted=$(jq '.private.postgres.rows[] | select(.schema == "public" and .table == "counter") | .rows' out)
    [[ $(jq '.private.postgres.rows | length' out) -eq 13 ]] || fail 'not every table is counted'
    exits 0 backstay restore -s store cluster -i key.txt -o many.dump
    local dumped
    dumped=$(pg_restore --data-only -t counter -f - many.dump | grep -c '^1$')
    [[ $noted -gt 110 && $noted -eq $dumped ]] || fail "$noted rows are noted and $dumped were dumped"
    # By the host that wrote it, nobody can read them.
    exits 0 backstay show -s store cluster
    says out 'sealed'
}

it_takes_one_table_out_of_many_and_fetches_little_more() {
    new_key
    exits 0 backed_up "$MANY" --pg-dump many
    local stored
    stored=$(backstay show -s store cluster --json | jq .stored)
    exits 0 backstay restore -s store cluster -i key.txt --pg-table public.t7 -o t7.dump --json
    [[ $(jq -r '.tables[0].name, .indexed' out | tr '\n' ' ') == 'public.t7 true ' ]] || fail "$(cat out)"
    # Of 12 tables one, with the frames at its edges and those of the contents.
    (($(jq .stored out) < stored / 4)) || fail "$(jq .stored out) of $stored bytes were read"
    backstay cat -s store cluster -i key.txt > whole.dump
    (($(stat -c %s t7.dump) < $(stat -c %s whole.dump) / 10)) || fail 'it holds more than one table'
    pg_restore -n public -t t7 -f - whole.dump | grep -v restrict > wanted
    pg_restore -n public -t t7 -f - t7.dump | grep -v restrict > found
    same wanted found
    [[ $(grep -c '	' found) -eq 30000 ]] || fail 'rows are missing'
    [[ $(pg_restore -l whole.dump | grep -v '^;') == $(pg_restore -l t7.dump | grep -v '^;') ]] || fail 'the contents differ'
    # Into a database, where another one is not disturbed.
    pg_on "$MANY" createdb "again$$"
    pg_on "$MANY" pg_restore --exit-on-error -n public -t t7 -d "again$$" t7.dump
    [[ $(pg_on "$MANY" psql -XAtd "again$$" -c 'SELECT count(*), sum(i) FROM t7') == '30000|450015000' ]] || fail 'other rows'
    pg_on "$MANY" dropdb "again$$"
    # Several at once, and by the name alone.
    exits 0 backstay restore -s store cluster -i key.txt --pg-table counter --pg-table t1 -o two.dump
    [[ $(pg_restore --data-only -t counter -f - two.dump | grep -c '^1$') -ge 100 ]] || fail 'the counter is missing'
    refuses dump.no-table backstay restore -s store cluster -i key.txt --pg-table public.t99 -o x.dump
    refuses dump.no-table backstay restore -s store cluster -i key.txt --pg-table other.t1 -o x.dump
    says err 'public.t1'
    [[ -z $(compgen -G 'x.dump*') ]] || fail 'something was left'
}

it_takes_a_table_out_of_dumps_that_other_commands_made() {
    new_key
    # Through a pipe, and compressed by pg_dump: noted all the same.
    pg_on "$MANY" pg_dump -Fc many | backstay backup -s store -r "$RECIPIENT" --name piped 2> err
    exits 0 backstay restore -s store piped -i key.txt --pg-table t3 -o t3.dump --json
    [[ $(jq .indexed out) == true ]] || fail 'nothing was noted'
    pg_restore -t t3 -f - t3.dump | grep -v restrict > found
    # Without the manifest nothing is known, and everything is read.
    exits 0 backstay restore -s store piped -i key.txt --no-manifest --pg-table t3 -o again.dump --json
    [[ $(jq .indexed out) == false ]] || fail 'who told?'
    same t3.dump again.dump
    pg_on "$MANY" pg_dump -t t3 many | grep -c '	' > wanted
    grep -c '	' found > rows
    same wanted rows
    # What is no such dump.
    exits 0 pg_on "$MANY" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name plain -- pg_dump -t counter many
    refuses dump.invalid backstay restore -s store plain -i key.txt --pg-table counter -o x.dump
    # A version of the format that is to come.
    pg_on "$MANY" pg_dump -Fc -t counter many > new.dump
    printf '\x11' | dd of=new.dump bs=1 seek=6 conv=notrunc status=none
    exits 0 backstay backup -s store -r "$RECIPIENT" --name new < new.dump
    refuses format.unsupported backstay restore -s store new -i key.txt --pg-table counter -o x.dump
}

it_refuses_a_dump_in_the_custom_format_that_is_cut() {
    new_key
    mkdir store
    pg_on "$ODD" pg_dump -Fc shop > whole.dump
    local length cut
    length=$(stat -c %s whole.dump)
    for cut in 7 500 $((length / 2)) $((length - 1)); do
        head -c "$cut" whole.dump > cut.dump
        refuses source.trailer backstay backup -s store -r "$RECIPIENT" --name cut < cut.dump
    done
    nothing_committed store
    exits 0 backstay backup -s store -r "$RECIPIENT" --name cut --no-require-trailer < cut.dump
    exits 0 backstay backup -s store -r "$RECIPIENT" --name whole < whole.dump
}

it_makes_no_set_when_the_server_dies_in_the_middle() {
    new_key
    pg_start "$PWD/server"
    pg_on "$PWD/server" createdb shop
    pg_on "$PWD/server" psql -X -q -d shop -c "CREATE TABLE t AS SELECT i, repeat(md5(i::text), 30) x FROM generate_series(1, 100000) i"
    # A client that waits in its middle, for the server to die meanwhile.
    mkdir bin
    for program in psql pg_dumpall; do ln -s "$PG_BIN/$program" bin/$program; done
    cat > bin/pg_dump << SLOW
#!/bin/bash
[[ \$1 == --version ]] && exec $PG_BIN/pg_dump --version
[[ \$* == *shop* ]] || exec $PG_BIN/pg_dump "\$@"
set -o pipefail
$PG_BIN/pg_dump "\$@" | { head -c 1000000; touch $PWD/begun; while [[ ! -e $PWD/dead ]]; do sleep 0.02; done; cat; }
SLOW
    chmod +x bin/pg_dump
    backed_up "$PWD/server" --pg-dumpall --jobs 1 --pg-bin bin > out 2> err &
    wait_until 20 test -e begun
    pg_stop "$PWD/server"
    touch dead
    local status=0
    wait $! || status=$?
    [[ $status -eq 30 ]] || {
        cat err >&2
        fail "exit status $status"
    }
    says err 'error[source.failed]: "shop" could not be backed up, so there is no set'
    no_set
    # What was done before it stands for itself.
    exits 0 backstay verify -s store cluster/postgres -i key.txt
    refuses archive.not-found backstay verify -s store cluster -i key.txt
}

it_makes_no_set_when_it_is_killed_and_the_next_run_does() {
    new_key
    local n committed=0
    for n in 0.1 0.3 0.5 0.7 0.9 1.2; do
        rm -rf store
        # Itself, and no shell around it.
        env PGHOST="$MANY/socket" PGUSER=postgres "$BACKSTAY" backup -s store -r "$RECIPIENT" --name cluster --pg-dumpall > out 2> err &
        sleep "$n"
        kill -9 $! 2> /dev/null || true
        wait $! 2> /dev/null || true
        mkdir -p store
        exits 0 backstay list -s store --json
        # A kill may come when everything is done, and then the set is whole.
        if [[ $(jq '.sets | length' out) -gt 0 ]]; then
            [[ $(jq -r '.sets[].state' out) == completed ]] || fail "$(cat out)"
            exits 0 backstay verify -s store cluster -i key.txt
            committed=$((committed + 1))
        fi
    done
    exits 0 backed_up "$MANY" --pg-dumpall
    exits 0 backstay verify -s store cluster -i key.txt
    ((committed < 6)) || fail 'no kill came in time'
}

it_says_beforehand_that_the_client_is_too_old() {
    new_key
    mkdir bin
    for program in psql pg_dumpall; do ln -s "$PG_BIN/$program" bin/$program; done
    # shellcheck disable=SC2016 # for the program
    printf '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 13.9 (Debian 13.9-0)" && exit\ntouch %s/ran\n' "$PWD" > bin/pg_dump
    chmod +x bin/pg_dump
    refuses source.programs backed_up "$ODD" --pg-dumpall --pg-bin bin
    says err 'pg_dump, pg_dumpall, psql of PostgreSQL (15.'
    says err 'the newest are 13.9 in bin'
    refuses source.programs backed_up "$ODD" --pg-dump shop --pg-bin bin
    [[ ! -e ran && ! -e store ]] || fail 'something was done'
    refuses source.programs backed_up "$ODD" --pg-dumpall --pg-bin nowhere
}

it_leaves_out_no_database_in_silence() {
    new_key
    pg_on "$ODD" psql -X -q -c 'CREATE DATABASE closed' -c 'ALTER DATABASE closed ALLOW_CONNECTIONS false'
    refuses source.database backed_up "$ODD" --pg-dumpall
    says err '"closed"'
    [[ ! -e store ]] || fail 'something was stored'
    exits 0 backed_up "$ODD" --pg-dumpall --exclude-database closed --exclude-database nonesuch
    says err '"nonesuch" that is to be left out does not exist'
    exits 0 backstay show -s store cluster -i key.txt --json
    [[ $(jq -r '.private.postgres.excluded[]' out) == $'closed\nnonesuch' ]] || fail "$(jq .private out)"
    [[ $(jq -r '[.members[] | select(.name == "closed")] | length' out) == 0 ]] || fail 'it is in the set'
    pg_on "$ODD" psql -X -q -c 'DROP DATABASE closed'
}

it_tells_of_databases_that_come_and_go_meanwhile() {
    new_key
    mkdir bin
    for program in psql pg_dumpall; do ln -s "$PG_BIN/$program" bin/$program; done
    pg_on "$ODD" createdb aaa_goes
    # The first dump makes them come and go, before the others begin.
    cat > bin/pg_dump << CHANGES
#!/bin/bash
[[ \$1 == --version ]] && exec $PG_BIN/pg_dump --version
if [[ ! -e $PWD/changed ]]; then
    touch $PWD/changed
    $PG_BIN/dropdb aaa_goes > /dev/null
    $PG_BIN/createdb zzz_comes
fi
exec $PG_BIN/pg_dump "\$@"
CHANGES
    chmod +x bin/pg_dump
    exits 0 backed_up "$ODD" --pg-dumpall --jobs 1 --pg-bin bin
    says err '"aaa_goes" was dropped while the backup ran'
    says err '"zzz_comes" was created while the backup ran'
    exits 0 backstay show -s store cluster -i key.txt --json
    [[ $(jq -r '.private.postgres | .created_meanwhile[0] + " " + .dropped_meanwhile[0]' out) == 'zzz_comes aaa_goes' ]] || fail "$(jq .private out)"
    [[ $(jq -r .state out) == completed ]] || fail 'the set is not completed'
    pg_on "$ODD" dropdb zzz_comes
}

it_runs_as_many_dumps_at_a_time_as_it_is_told() {
    new_key
    local jobs
    mkdir bin
    for program in psql pg_dumpall; do ln -s "$PG_BIN/$program" bin/$program; done
    # The first dumps wait for each other, as many as there are to be; each counts itself and the others, and those that wait for more than ever come fail.
    cat > bin/pg_dump << 'COUNTED'
#!/bin/bash
[[ $1 == --version ]] && exec "$REAL/pg_dump" --version
touch "$RUNS/running-$$"
running() { ls "$RUNS" | grep -c running; }
for ((n = 0; n < 600; n++)); do
    if [[ -e $RUNS/met ]] || (($(running) >= JOBS)); then
        touch "$RUNS/met"
        break
    fi
    sleep 0.05
done
[[ -e $RUNS/met ]] || exit 1
sleep 0.2
running >> "$RUNS/counts"
"$REAL/pg_dump" "$@"
status=$?
rm "$RUNS/running-$$"
exit "$status"
COUNTED
    chmod +x bin/pg_dump
    export REAL=$PG_BIN RUNS JOBS
    for jobs in 1 3; do
        RUNS=$PWD/runs-$jobs JOBS=$jobs
        mkdir "$RUNS"
        rm -rf store
        exits 0 backed_up "$ODD" --pg-dumpall --jobs "$jobs" --pg-bin bin
        [[ $(sort -n "$RUNS/counts" | tail -n 1) -eq $jobs ]] || fail "--jobs $jobs: at a time there were $(sort "$RUNS/counts" | uniq -c)"
    done
}

it_keeps_to_its_memory_however_many_dumps_there_are() {
    new_key
    local id
    for id in 1 2 3; do pg_on "$MANY" createdb -T many "copy$id"; done
    pg_on "$MANY" "$(type -P time)" -q -f %M -o peak "$BACKSTAY" --memory 128MiB --cores 2 backup -s store -r "$RECIPIENT" \
        --name cluster --pg-dumpall --jobs 4 > out 2> err
    for id in 1 2 3; do pg_on "$MANY" dropdb "copy$id"; done
    # The buffers and what is beside them; four times the buffers of one would be a good deal more.
    (($(< peak) < 160 * 1024)) || fail "$(< peak) KiB"
    refuses usage.memory pg_on "$MANY" "$BACKSTAY" --memory 8MiB backup -s small -r "$RECIPIENT" --name cluster --pg-dumpall
    exits 0 pg_on "$MANY" "$BACKSTAY" --memory 40MiB --cores 2 backup -s small -r "$RECIPIENT" --name cluster --pg-dumpall --jobs 4
    says err 'the memory suffices for 1 at a time, not for 4'
}

it_refuses_what_does_not_fit_together() {
    new_key
    refuses usage.arguments backed_up "$ODD" --pg-dumpall --pg-dump shop
    refuses usage.arguments backed_up "$ODD" --pg-dumpall -- pg_dumpall
    refuses usage.arguments backed_up "$ODD" --pg-dumpall --also other
    refuses usage.arguments backed_up "$ODD" --jobs 3 -- true
    refuses usage.arguments backed_up "$ODD" --exclude-database x --pg-dump shop
    refuses usage.arguments backed_up "$ODD" --row-counts -- true
    refuses usage.arguments backed_up "$ODD" --pg-bin /nowhere -- true
    echo secret > password.txt
    refuses usage.arguments pg_on "$ODD" "$BACKSTAY" backup -s store --name x --format openssl --passphrase-file password.txt --pg-dumpall
    refuses source.too-small backed_up "$ODD" --pg-dumpall --min-size 1GiB
    no_set
}

run_cases "$@"
