#!/usr/bin/env bash
# Archives go into real PostgreSQL servers: drills that pass, drills that fail for each reason there is, and what every one of them
# leaves behind, which is nothing; and `restore --to-db`.
# Names stand in backticks in what is said.
# shellcheck disable=SC2016 source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

ODD=$SCRATCH/odd
pg_start "$ODD"
pg_on "$ODD" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
pg_on "$ODD" pg_dumpall > "$SCRATCH/cluster.sql"
pg_on "$ODD" pg_dump shop > "$SCRATCH/shop.sql"
pg_on "$ODD" pg_dump -Fc shop > "$SCRATCH/shop.dump"
pg_on "$ODD" pg_dump -Ft shop > "$SCRATCH/shop.tar"
pg_dump_of "$ODD" > "$SCRATCH/odd.sql"

# A dump of a small database, made by hand, in the form of pg_dump: what stands in $1 is in its middle.
small_dump() {
    printf -- '--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version %s\n-- Dumped by pg_dump version %s\n\n' "${2:-15.20}" "${2:-15.20}"
    printf 'CREATE TABLE t (a integer);\nCOPY t (a) FROM stdin;\n1\n2\n3\n\\.\n%s\n' "$1"
    printf -- '--\n-- PostgreSQL database dump complete\n--\n'
}

# with FILE [NAME]: backs it up, and makes the folder that drills may use.
with() {
    [[ -e key.txt ]] || new_key
    exits 0 backstay backup -s store -r "$RECIPIENT" --name "${2:-pg-main}" --level 1 < "$1"
    # As the folder for temporary files: the server's user can remove what is its own.
    mkdir -p scratch
    chmod 1777 scratch
}

drill() { backstay drill -s store -i key.txt --scratch-dir scratch "$@"; }

# Whatever the server wrote, and every process that has its directory in its arguments.
nothing_is_left() {
    local found
    found=$(find scratch -mindepth 1 | head -n 3)
    [[ -z $found ]] || return 1
    ! pgrep -f "$PWD/scratch/backstay-drill" > left
}
demand_nothing_left() { nothing_is_left || fail "left: $(find scratch -mindepth 1 | head) $(pgrep -af "$PWD/scratch")"; }

# recorded RESULT: demands one report, with this result; or none.
recorded() {
    local reports=(store/*.verified.*)
    if [[ $1 == none ]]; then
        [[ ! -e ${reports[0]} ]] || fail "there is a report: ${reports[*]}"
    else
        [[ ${#reports[@]} -eq 1 ]] || fail "there is not one report: ${reports[*]}"
        grep -q "\"level\":\"drill\",\"result\":\"$1\"" "${reports[0]}" || fail "the report is not $1: $(< "${reports[0]}")"
    fi
}

it_passes_for_a_cluster_with_odd_names_and_writes_the_report() {
    with "$SCRATCH/cluster.sql"
    cat > checks.toml << 'TOML'
[[check]]
name = "orders <are> there"
db = "shop"
sql = "SELECT count(*) FROM orders"
at-least = 60000
at-most = 60000

[[check]]
name = "the odd names are there"
db = "it's a \"quoted\" database"
sql = "SELECT current_database()"
expect = "it's a \"quoted\" database"

[[check]]
name = "the backup is known to queries"
sql = """SELECT :'archive_time'::timestamptz BETWEEN now() - interval '1 day' AND now() + interval '1 minute'
    AND :'archive_id' LIKE '%-%-%-%-%'"""
TOML
    exits 0 drill latest --check checks.toml --db shop --assert 'SELECT -count(*) FROM customers' --expect -20000 \
        --report drill.md --report drill.html
    says out 'passed: restored without an error, and 4 checks held'
    says out '0 errors, 1 benign (the server had the role already: 1)'
    demand_nothing_left
    recorded good
    # The auditors' copies have what was asked and answered; the store, which others read, has not.
    says drill.md '| orders &lt;are&gt; there | shop | SELECT count(\*) FROM orders | 60000 to 60000 | 60000 | held |'
    says drill.html 'orders &lt;are&gt; there'
    says drill.html "$(backstay show -s store latest --json | jq -r .root)"
    ! grep -qiE '<script|src=|href=' drill.html || fail 'the page needs or runs something'
    ! grep -qE 'orders|quoted|SELECT' store/*.verified.* || fail 'the stored report tells what was asked'
    # The next drill knows how long one takes.
    exits 0 drill latest --json --no-record
    [[ $(jq -r '.verdict, .estimate.drills, .phases.restore > 0' out) == $'passed\n2\ntrue' ]] || fail "$(< out)"
    recorded good
}

it_takes_every_form_of_a_dump() {
    local file
    for file in shop.sql shop.dump shop.tar; do
        with "$SCRATCH/$file" "$file"
        exits 0 drill "$file" --assert 'SELECT count(*) FROM orders' --expect 60000 \
            --assert 'SELECT count(*) FROM pg_largeobject_metadata' --expect 3
        says out '(the dump has no roles: '
    done
    demand_nothing_left
}

it_fails_when_a_check_fails() {
    with <(small_dump '')
    exits 3 drill latest --assert 'SELECT count(*) FROM t' --expect 4
    says out 'FAIL assertion 1: 3, expected 4'
    recorded bad
    for assert in 'SELECT nothing' 'SELECT false' 'DELETE FROM t; SELECT true' 'SELECT pg_sleep(0)'; do
        exits 3 drill latest --no-record --assert "$assert"
    done
    exits 3 drill latest --no-record --db absent --assert 'SELECT true'
    says out 'database "absent" does not exist'
    demand_nothing_left
}

it_counts_the_rows_that_the_backup_counted() {
    new_key
    mkdir -m 1777 scratch
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name shop --pg-dump shop --row-counts
    exits 0 drill shop
    says out 'ok   rows of each table, as counted in the backup: the same in each'
}

# The program that dumps ends with 0 and left a table's rows out, as by a forgotten option. Nothing but the counts tells.
it_fails_when_rows_are_not_in_the_dump_that_the_backup_counted() {
    new_key
    mkdir -m 1777 scratch
    mkdir bin
    ln -s "$PG_BIN"/* bin/
    rm bin/pg_dump
    printf '#!/bin/sh\nexec %q "$@" --exclude-table-data=orders_2020\n' "$PG_BIN/pg_dump" > bin/pg_dump
    chmod +x bin/pg_dump
    exits 0 pg_on "$ODD" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name shop --pg-dump shop --row-counts --pg-bin "$PWD/bin"
    exits 3 drill shop --report drill.md
    says out 'FAIL rows of each table, as counted in the backup: '
    says out 'public.orders_2020 has 0 and had '
    says drill.md 'has 0 and had '
    recorded bad
    demand_nothing_left
}

it_fails_when_it_takes_too_long_which_is_not_the_archives_fault() {
    with <(small_dump 'SELECT pg_sleep(1.2);')
    exits 3 drill latest --rto 1s
    says out 'it took longer than allowed'
    recorded good
    exits 0 drill latest --rto 1h --no-record
}

it_fails_when_the_server_refuses_a_statement() {
    with <(small_dump "INSERT INTO absent VALUES (1);
INSERT INTO t VALUES ('x');")
    refuses target.statements drill latest --assert 'SELECT count(*) FROM t' --expect 3 --report drill.md
    says err 'the server refused 2 statements'
    says err '42P01: relation "absent" does not exist; the statement: INSERT INTO absent VALUES (1);'
    says err 'SQLSTATE 22P02 (1), 42P01 (1)'
    # What could be checked was, and is told.
    says out 'ok   assertion 1: 3'
    says drill.md 'target.statements'
    recorded bad
    demand_nothing_left
}

it_fails_when_the_archive_is_damaged() {
    new_key
    exits 0 backstay backup -s store -r "$RECIPIENT" --part-size 1M < "$SCRATCH/cluster.sql"
    mkdir scratch
    cp -r store damaged
    local last
    last=$(find damaged -type f -name '*-*' ! -name '*.json' | sort -V | tail -n 1)
    rm "$last"
    refuses part.missing backstay drill -s damaged -i key.txt --scratch-dir scratch latest --report drill.html
    says drill.html 'part.missing'
    demand_nothing_left
    mv store whole && mv damaged store
    recorded bad
    # A bit in its middle shows when half of it is in the server.
    rm -rf store && cp -r whole store
    local middle
    middle=$(find store -type f -name "*-3")
    printf '\x01' | dd of="$middle" bs=1 seek=500000 conv=notrunc status=none
    refuses segment.auth drill latest
    recorded bad
    demand_nothing_left
}

it_knows_nothing_of_the_archive_with_a_wrong_key() {
    with <(small_dump '')
    exits 0 backstay key generate other.txt
    refuses key.not-found backstay drill -s store -i other.txt --scratch-dir scratch latest --report drill.md
    says drill.md 'not held: nothing is known about the archive'
    recorded none
    demand_nothing_left
}

it_refuses_a_server_that_is_not_empty() {
    with <(small_dump '')
    local dsn="host=$PWD/used/socket user=postgres dbname=postgres"
    pg_start "$PWD/used"
    local database make drop
    while IFS='#' read -r database make drop; do
        pg_on "$PWD/used" psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -d "$database" -c "$make"
        echo "$make"
        refuses target.not-empty backstay drill -s store -i key.txt latest --dsn "$dsn"
        pg_on "$PWD/used" psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -d "$database" -c "$drop"
    done << 'MADE'
postgres#CREATE TABLE mine ()#DROP TABLE mine
postgres#CREATE SCHEMA mine#DROP SCHEMA mine
postgres#CREATE FUNCTION mine() RETURNS int RETURN 1#DROP FUNCTION mine()
postgres#CREATE DATABASE mine#DROP DATABASE mine
postgres#SELECT lo_create(1)#SELECT lo_unlink(1)
postgres#CREATE TYPE mine AS ENUM ('x')#DROP TYPE mine
postgres#CREATE TYPE mine AS (x int)#DROP TYPE mine
postgres#CREATE DOMAIN mine AS int#DROP DOMAIN mine
postgres#CREATE PUBLICATION mine FOR ALL TABLES#DROP PUBLICATION mine
postgres#CREATE SUBSCRIPTION mine CONNECTION 'host=/nowhere' PUBLICATION x WITH (connect = false)#ALTER SUBSCRIPTION mine SET (slot_name = NONE); DROP SUBSCRIPTION mine
postgres#CREATE TEXT SEARCH CONFIGURATION mine (COPY = english)#DROP TEXT SEARCH CONFIGURATION mine
postgres#CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)#DROP OPERATOR === (int, int)
postgres#CREATE COLLATION mine (LOCALE = 'C')#DROP COLLATION mine
template1#CREATE TABLE mine ()#DROP TABLE mine
MADE
    # What a template has in it counts, and that there is one does not; nor do extensions.
    pg_on "$PWD/used" psql -X -q -c 'CREATE DATABASE mine IS_TEMPLATE true' -c 'CREATE EXTENSION hstore' -c 'CREATE DATABASE other'
    pg_on "$PWD/used" psql -X -q -d mine -c 'CREATE TABLE t ()'
    refuses target.not-empty backstay drill -s store -i key.txt latest --dsn "$dsn"
    says err 'the relation `public.t` in the database `mine`'
    pg_on "$PWD/used" psql -X -q -d mine -c 'DROP TABLE t'
    # Whichever database is connected to, it is the whole server that is asked.
    pg_on "$PWD/used" psql -X -q -c 'CREATE TABLE mine ()'
    refuses target.not-empty backstay drill -s store -i key.txt latest --dsn "host=$PWD/used/socket user=postgres dbname=other"
    says err 'in the database `postgres`'
    pg_on "$PWD/used" psql -X -q -c 'DROP TABLE mine' -c 'DROP DATABASE other'
    recorded none
    exits 0 backstay drill -s store -i key.txt latest --dsn "$dsn" --assert 'SELECT count(*) FROM t' --expect 3
    recorded good
    # What was restored is there, so that a second drill is refused.
    refuses target.not-empty backstay drill -s store -i key.txt latest --dsn "$dsn"
    says err 'public.t'
    refuses target.unreachable backstay drill -s store -i key.txt latest --dsn "host=$PWD/nowhere"
    refuses usage.arguments backstay drill -s store -i key.txt latest --dsn postgresql://me:secret@host/db
    ! grep -q secret err || fail 'the password is told'
}

it_refuses_servers_and_programs_that_are_too_old_or_not_there() {
    with <(small_dump '' 99.1)
    refuses target.programs drill latest
    says err '99.1 or newer'
    mkdir empty
    refuses target.programs drill latest --pg-bin empty
    says err 'are not all in empty'
    pg_start "$PWD/old"
    refuses target.version backstay drill -s store -i key.txt latest --dsn "host=$PWD/old/socket user=postgres dbname=postgres"
    says err '99.1'
    recorded none
    demand_nothing_left
}

it_says_so_when_the_server_dies_in_the_middle() {
    with <(small_dump 'SELECT pg_sleep(60);')
    pg_start "$PWD/dying"
    (
        pg_on "$PWD/dying" psql -X -q -o /dev/null -c "DO \$\$ BEGIN
            LOOP
                PERFORM pg_stat_clear_snapshot();
                EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'backstay' AND query LIKE '%pg_sleep(60)%');
                PERFORM pg_sleep(0.01);
            END LOOP;
        END \$\$"
        pg_stop "$PWD/dying"
    ) &
    refuses target.failed backstay drill -s store -i key.txt latest --dsn "host=$PWD/dying/socket user=postgres dbname=postgres"
    wait
    says err 'psql` ended with exit status 2; it said: '
    recorded none
}

it_says_so_when_the_disk_is_full() {
    ((EUID == 0)) || fail "mounting a small file system takes root"
    with "$SCRATCH/shop.sql"
    mount -t tmpfs -o size=72m,mode=755 tmpfs scratch
    trap 'umount scratch; end_servers' EXIT
    refuses target.failed drill latest
    says err 'No space left on device'
    demand_nothing_left
    recorded none
}

# begin_drill: begins one in the background that does not end by itself, and waits until its server works on it.
begin_drill() {
    with <(small_dump 'SELECT pg_sleep(60);')
    # Not through the function: the process itself is to be told something.
    env --default-signal=HUP "$BACKSTAY" drill -s store -i key.txt --scratch-dir scratch latest > out 2> err &
    DRILL=$!
    PIDS+=("$DRILL")
    wait_until 30 its_server_works
}

# Other servers may be at work on this machine.
its_server_works() {
    local server
    server=$(cat scratch/backstay-drill-*/data/postmaster.pid 2> /dev/null | head -n 1)
    [[ -n $server ]] && pgrep -P "$server" -f '\[local\] SELECT' > /dev/null
}

it_leaves_nothing_when_it_is_interrupted() {
    local signal status
    for signal in INT TERM HUP; do
        begin_drill
        kill -s "$signal" "$DRILL"
        status=0
        wait "$DRILL" || status=$?
        [[ $status -eq 130 ]] || fail "exit status $status"
        says err 'error[interrupted]'
        ! grep -q gc err || fail "what has that to do with gc: $(< err)"
        demand_nothing_left
    done
    recorded none
}

it_leaves_nothing_when_it_is_killed() {
    begin_drill
    kill -KILL "$DRILL"
    wait "$DRILL" || true
    wait_until 20 nothing_is_left
}

it_removes_what_a_machine_that_went_down_left() {
    begin_drill
    # All of it ends at once, as with the power: whoever would clear up too.
    local server
    server=$(head -n 1 scratch/backstay-drill-*/data/postmaster.pid)
    kill -KILL "$DRILL" "$(ps -o ppid= -p "$server" | tr -d ' ')"
    wait "$DRILL" || true
    [[ -d /proc/$server ]] || fail 'the server is gone too: this shows nothing'
    with <(small_dump '') other
    exits 0 drill other
    says err 'removed what 1 earlier drills left behind'
    wait_until 10 nothing_is_left
}

it_sets_what_it_is_told_to() {
    with <(small_dump '')
    exits 0 drill latest --pg-set work_mem=77MB --assert 'SHOW work_mem' --expect 77MB --assert 'SHOW listen_addresses' --expect ''
}

it_runs_the_server_as_the_user_it_is_told_to() {
    ((EUID == 0)) || fail "choosing a server's user takes root"
    with <(small_dump '')
    exits 0 drill latest --pg-user nobody --assert 'SELECT true'
    refuses usage.arguments drill latest --pg-user root
    demand_nothing_left
}

it_lets_a_command_be_the_target() {
    with "$SCRATCH/shop.sql"
    exits 0 backstay drill -s store -i key.txt latest --report drill.md -- sh -c 'cat > got.sql'
    same got.sql "$SCRATCH/shop.sql"
    says drill.md '| restored into | the command '
    recorded good
    rm store/*.verified.*
    refuses target.failed backstay drill -s store -i key.txt latest -- sh -c 'cat > /dev/null; exit 7'
    says err 'exit status 7'
    recorded bad
    rm store/*.verified.*
    refuses usage.arguments backstay drill -s store -i key.txt latest -- /nowhere/at/all
    recorded none
}

it_signs_the_report() {
    with <(small_dump '')
    exits 0 backstay key generate --signing sign.pem
    exits 0 drill latest --sign-key sign.pem
    grep -q '"mac".*"sig"\|"sig".*"mac"' store/*.verified.* || fail "$(cat store/*.verified.*)"
}

it_restores_a_cluster_into_a_server() {
    with "$SCRATCH/cluster.sql"
    pg_start "$PWD/fresh"
    # Leading variables work as they do for psql, and one that is not set leads nowhere.
    refuses usage.arguments pg_on "$PWD/fresh" "$BACKSTAY" restore -s store latest -i key.txt --to-db ''
    refuses usage.arguments pg_on "$PWD/fresh" "$BACKSTAY" drill -s store latest -i key.txt --dsn ''
    exits 0 pg_on "$PWD/fresh" "$BACKSTAY" restore -s store latest -i key.txt --to-db dbname=postgres -v
    says err 'benign, the server had the role already: line '
    says err '0 errors, 1 benign'
    pg_dump_of "$PWD/fresh" > restored.sql
    same "$SCRATCH/odd.sql" restored.sql
    refuses target.not-empty pg_on "$PWD/fresh" "$BACKSTAY" restore -s store latest -i key.txt --to-db postgres
    says err 'it has '
    # All of it is there already.
    refuses target.statements pg_on "$PWD/fresh" "$BACKSTAY" restore -s store latest -i key.txt --to-db postgres --into-used
}

it_restores_a_database_in_each_form_into_a_server() {
    pg_start "$PWD/fresh"
    pg_on "$ODD" pg_dumpall --globals-only | grep -v 'CREATE ROLE postgres;' | pg_on "$PWD/fresh" psql -X -q -v ON_ERROR_STOP=1
    # The odd database has a time zone of its own, which would be in what is compared.
    export PGTZ=UTC
    pg_on "$ODD" pg_dump shop | grep -v '^\\\(un\)\?restrict ' | LC_ALL=C sort > was
    local file
    for file in shop.sql shop.dump shop.tar; do
        with "$SCRATCH/$file" "$file"
        pg_on "$PWD/fresh" createdb again
        exits 0 backstay restore -s store "$file" -i key.txt --to-db "host=$PWD/fresh/socket user=postgres dbname=again" --json
        [[ $(jq -r '.messages.errors, .messages.benign, .database' out) == $'0\n0\nagain' ]] || fail "$(< out)"
        pg_on "$PWD/fresh" pg_dump again | grep -v '^\\\(un\)\?restrict ' | LC_ALL=C sort > is
        same was is
        pg_on "$PWD/fresh" dropdb again
    done
}

# A server with a database that is used, and dumps of another one of that name.
it_leaves_a_database_alone_that_a_dump_would_replace() {
    pg_start "$PWD/used"
    pg_on "$PWD/used" psql -X -q -c 'CREATE DATABASE shop'
    pg_on "$PWD/used" psql -X -q -d shop -c 'CREATE TABLE precious AS SELECT 42 AS answer'
    local dsn="host=$PWD/used/socket user=postgres dbname=postgres" options
    for options in -C '-C --clean' '-C --clean --if-exists'; do
        # shellcheck disable=SC2086
        pg_on "$ODD" pg_dump $options shop > made.sql
        with made.sql
        refuses target.not-empty backstay restore -s store latest -i key.txt --to-db "$dsn"
        says err 'the database `shop`, which the dump '
    done
    [[ $(pg_on "$PWD/used" psql -XAtd shop -c 'SELECT answer FROM precious') == 42 ]] || fail 'it is gone'
    pg_on "$PWD/used" psql -X -q -c 'DROP DATABASE shop'
    exits 0 backstay restore -s store latest -i key.txt --to-db "$dsn" --no-owner
    says err 'is in the database `shop` of'
    [[ $(pg_on "$PWD/used" psql -XAtd shop -c 'SELECT count(*) FROM orders') == 60000 ]] || fail 'it is not there'
    # A text in a row is no statement.
    with <(small_dump "SELECT 'DROP DATABASE shop;
\\connect shop
';") other
    exits 0 backstay restore -s store other -i key.txt --to-db "$dsn"
}

it_asks_the_database_that_a_dump_makes() {
    pg_on "$ODD" pg_dump -C shop > made.sql
    with made.sql
    exits 0 drill latest --assert 'SELECT count(*) FROM orders' --expect 60000 --assert 'SELECT current_database()' --expect shop
    demand_nothing_left
}

it_leaves_the_roles_of_a_server_alone() {
    with "$SCRATCH/cluster.sql"
    pg_start "$PWD/used"
    pg_on "$PWD/used" psql -X -q -c 'CREATE ROLE other LOGIN' -c 'CREATE ROLE owner_of_things NOLOGIN'
    local dsn="host=$PWD/used/socket user=postgres dbname=postgres"
    refuses target.not-empty backstay drill -s store -i key.txt latest --dsn "$dsn"
    says err 'the role `owner_of_things`, which the dump would alter'
    refuses target.not-empty backstay restore -s store -i key.txt latest --to-db "$dsn"
    [[ $(pg_on "$PWD/used" psql -XAtc "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'owner_of_things'") == f ]] || fail 'it was altered'
    recorded none
    pg_on "$PWD/used" psql -X -q -c 'DROP ROLE owner_of_things'
    # That there are others is of no matter.
    exits 0 backstay drill -s store -i key.txt latest --dsn "$dsn"
}

# with_tablespace DIR PLACE: a server with the tablespace "fast" in PLACE, with a table of `shop` and all of `orders` in it.
with_tablespace() {
    mkdir "$2"
    ((EUID != 0)) || chown postgres: "$2"
    pg_start "$1"
    pg_on "$1" psql -X -q -c "CREATE TABLESPACE fast LOCATION '$2'" -c 'CREATE DATABASE about' -c 'CREATE DATABASE orders TABLESPACE fast' \
        -c 'CREATE DATABASE shop'
    local database
    for database in about orders shop; do
        pg_on "$1" psql -X -q -d "$database" -c 'CREATE TABLE t TABLESPACE fast AS SELECT 42 AS answer' -c 'CREATE TABLE u AS SELECT 43 AS answer'
    done
}

it_leaves_the_directories_of_tablespaces_alone() {
    local place=$PWD/place before after subject
    with_tablespace "$PWD/source" "$place"
    new_key
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name set --pg-dumpall
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name text -- pg_dumpall
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name one -- pg_dump shop
    # All names below, and their times.
    pg_on "$PWD/source" psql -X -q -c CHECKPOINT
    before=$(find "$place" -printf '%P %T@\n' | sort)
    mkdir scratch
    chmod 1777 scratch
    for subject in set text set; do
        exits 0 drill "$subject" --db orders --assert 'SELECT answer = 42 FROM t'
        says out passed
        exits 0 drill "$subject" --db shop --assert "SELECT spcname = 'fast' FROM pg_class JOIN pg_tablespace s ON s.oid = reltablespace WHERE relname = 't'"
        demand_nothing_left
    done
    # The dump of one database does not make them: its tables are where the server puts them.
    exits 0 drill one --assert 'SELECT answer = 42 FROM t'
    says out 'the dump has no tablespaces: '
    after=$(find "$place" -printf '%P %T@\n' | sort)
    [[ $before == "$after" ]] || fail "the tablespace of the source was touched: $(diff <(echo "$before") <(echo "$after"))"
}

# flip FILE BYTE: one bit of it is another one.
flip() {
    "$PYTHON" - "$@" << 'FLIP'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1]))
FLIP
}

it_goes_on_past_a_damaged_member_of_a_set() {
    local database id part byte target
    new_key
    mkdir -m 1777 scratch
    pg_start "$PWD/source"
    for database in first large last; do
        pg_on "$PWD/source" createdb "$database"
        pg_on "$PWD/source" psql -X -q -d "$database" -c 'CREATE TABLE t AS SELECT 42 AS answer'
    done
    pg_on "$PWD/source" psql -X -q -d large -c 'CREATE TABLE many AS SELECT md5(n::text) FROM generate_series(1, 300000) n'
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s whole -r "$RECIPIENT" --name set --pg-dumpall --row-counts --part-size 1M
    id=$(backstay show -s whole set --json | jq -r '.members[] | select(.name == "large") | .id')
    [[ -e whole/$id-3 ]] || fail "the member is one of few parts: $(ls whole)"
    # At its beginning, which is read before anything is loaded, and where half of it is loaded.
    for part in 0 2; do
        cp -r whole store
        byte=$(($(head -n 1 "store/$id-$part" | wc -c) + 100))
        flip "store/$id-$part" "$byte"
        exits 20 drill set --json --db last --assert 'SELECT answer = 42 FROM t' --report drill.md
        says err "the member \`large\`, $id, is not restored: "
        says err '5 of 6 members are restored'
        jq -e '.verdict == "failed" and .failure.code == "segment.auth" and (.members | length == 6)
            and ([.members[] | select(.code)] | length == 1 and .[0].name == "large" and .[0].code == "segment.auth")
            and ([.checks[] | select(.passed)] | length == 3) and (.checks | length == 3) and (.recorded | length == 6)' out || fail "the result: $(< out)"
        says drill.md "| large | $id | not restored: segment.auth"
        # What is wrong with one is not said of the others.
        [[ $(grep -l '"result":"bad"' store/*.verified.*) == "store/$id.verified."* ]] || fail "$(grep -o '"result":"[a-z]*"' store/*.verified.*)"
        [[ $(grep -l '"result":"good"' store/*.verified.* | wc -l) -eq 5 ]] || fail "$(grep -o '"result":"[a-z]*"' store/*.verified.*)"
        demand_nothing_left

        target=$PWD/target$part
        pg_start "$target"
        exits 20 backstay --json restore -s store set -i key.txt --to-db "host=$target/socket user=postgres dbname=postgres"
        jq -e '(.members | length == 5) and (.failed | length == 1) and .failed[0].name == "large" and .failed[0].code == "segment.auth"' out || fail "the result: $(< out)"
        [[ $(pg_on "$target" psql -XAtd last -c 'SELECT answer FROM t') == 42 && $(pg_on "$target" psql -XAtd first -c 'SELECT answer FROM t') == 42 ]] ||
            fail 'other rows'
        rm -r store
    done
    # All of it is told where nothing is damaged.
    cp -r whole store
    exits 0 drill set --report drill.html
    says out 'ok   large: '
    says drill.html "<td class=\"text\">$id</td>"
}

it_restores_the_other_databases_of_a_set_when_one_cannot_be_made() {
    local dsn status
    with_tablespace "$PWD/source" "$PWD/place"
    new_key
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name set --pg-dumpall
    pg_start "$PWD/target"
    dsn="host=$PWD/target/socket user=postgres dbname=postgres"
    # The place is the source's, so that there is no tablespace, and no database in it.
    exits 1 backstay --json restore -s store set -i key.txt --to-db "$dsn"
    jq -se 'map(select(.type == "error")) | length == 1 and (.[0] | .code == "target.failed" and (.message | startswith("the member `orders`, ")
        and endswith("; 5 of 6 members are restored")) and (.hint | contains("into a database that you make for it")))' err || fail "the error: $(< err)"
    jq -e '.type == "restored_set" and (.members | length == 5) and (.failed | length == 1) and .failed[0].name == "orders" and .failed[0].code == "target.failed"' out ||
        fail "the result: $(< out)"
    # As the hint says.
    psql -Xq -d "$dsn" -c 'CREATE DATABASE orders'
    exits 0 backstay restore -s store set/orders -i key.txt --to-db "host=$PWD/target/socket user=postgres dbname=orders"
    [[ $(psql -XAtq -d "$dsn" -c '\connect orders' -c 'SELECT answer FROM t') == 42 ]] || fail 'other rows'
    [[ $(psql -XAtq -d "$dsn" -c '\connect about' -c 'SELECT answer FROM u' -c '\connect shop' -c 'SELECT answer FROM u') == $'43\n43' ]] || fail 'other rows'
    # A server that is gone ends all of it.
    pg_start "$PWD/dying"
    dsn="host=$PWD/dying/socket user=postgres dbname=postgres"
    pg_on "$PWD/source" psql -X -q -d about -c 'CREATE TABLE many AS SELECT generate_series(1, 3000000)'
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name set --pg-dumpall
    backstay restore -s store set -i key.txt --to-db "$dsn" 2> err > out &
    until pg_on "$PWD/dying" psql -XAtq -d about -c 'SELECT 1 FROM many LIMIT 0' 2> /dev/null; do sleep 0.02; done
    pg_stop "$PWD/dying"
    status=0
    wait $! || status=$?
    [[ $status -eq 1 ]] || fail "exit status $status"
    says err 'the member `about`, '
    ! grep -q 'the member `orders`\|the member `shop`' err || fail 'it went on without a server'
}

it_fails_for_a_dump_that_was_cut_short_before_it_was_backed_up() {
    new_key
    mkdir -m 1777 scratch
    pg_start "$PWD/fresh"
    local file dsn="host=$PWD/fresh/socket user=postgres dbname=" n=0
    for file in cluster.sql shop.sql; do
        # At the end of a line, in the middle of rows: psql takes that for their end.
        awk '/^COPY .*customers/ { rows = 1 } { print } rows && ++n == 100 { exit }' "$SCRATCH/$file" > cut.sql
        rm -rf store
        exits 0 backstay backup -s store -r "$RECIPIENT" --no-require-trailer < cut.sql
        refuses dump.cut-short drill latest
        says out 'FAILED'
        recorded bad
        n=$((n + 1))
        pg_on "$PWD/fresh" createdb "cut$n"
        refuses dump.cut-short backstay restore -s store latest -i key.txt --to-db "${dsn}cut$n" --into-used
    done
    demand_nothing_left
}

it_drills_servers_whose_names_are_those_of_the_drill() {
    pg_start "$PWD/source"
    pg_on "$PWD/source" psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE DATABASE restored' -c 'CREATE ROLE backstay_drill' \
        -c 'ALTER DATABASE restored SET default_transaction_read_only = on'
    pg_on "$PWD/source" env PGOPTIONS='-c default_transaction_read_only=off' psql -X -q -d restored -c 'CREATE TABLE t AS SELECT 42 AS answer'
    pg_on "$PWD/source" pg_dumpall > all.sql
    with all.sql text
    local check=(--db restored --assert 'SELECT answer FROM t' --expect 42)
    exits 0 drill text "${check[@]}"
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name set --pg-dumpall
    exits 0 drill set "${check[@]}"
    pg_on "$PWD/source" pg_dump -C restored > made.sql
    with made.sql made
    exits 0 drill made "${check[@]}"
    # As providers have it: the superuser is theirs.
    sed 's/^ALTER ROLE postgres WITH SUPERUSER/ALTER ROLE postgres WITH NOSUPERUSER/' all.sql > managed.sql
    with managed.sql managed
    exits 0 drill managed "${check[@]}" --assert "SELECT rolsuper FROM pg_roles WHERE rolname = 'postgres'" --expect f
    pg_start "$PWD/fresh"
    exits 0 backstay restore -s store text -i key.txt --to-db "host=$PWD/fresh/socket user=postgres dbname=postgres"
    [[ $(pg_on "$PWD/fresh" psql -XAtd restored -c 'SELECT answer FROM t') == 42 ]] || fail 'it is not there'
    demand_nothing_left
}

# The source's passwords are not those of the server that is restored into, and whoever restores goes on to be who they are.
it_keeps_the_login_of_whoever_restores() {
    local role=it\'s\ me dsn
    new_key
    pg_start "$PWD/source"
    pg_on "$PWD/source" psql -X -q -c "CREATE ROLE \"$role\" LOGIN PASSWORD 'of the source'" -c "ALTER ROLE \"$role\" SET work_mem = '7MB'" \
        -c 'CREATE DATABASE shop'
    pg_on "$PWD/source" psql -X -q -d shop -c 'CREATE TABLE t AS SELECT 42 AS answer'
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name set --pg-dumpall
    exits 0 pg_on "$PWD/source" "$BACKSTAY" backup -s store -r "$RECIPIENT" --name text -- pg_dumpall
    local subject
    for subject in set text; do
        pg_start "$PWD/$subject"
        pg_on "$PWD/$subject" psql -X -q -c "CREATE ROLE \"$role\" LOGIN SUPERUSER PASSWORD 'mine'"
        sed -i 's/trust$/scram-sha-256/' "$PWD/$subject/data/pg_hba.conf"
        pg_as_server "$PG_BIN/pg_ctl" --pgdata "$PWD/$subject/data" --silent reload
        dsn="host=$PWD/$subject/socket user='it\\'s me' dbname=postgres"
        exits 0 env PGPASSWORD=mine "$BACKSTAY" restore -s store "$subject" -i key.txt --to-db "$dsn"
        says err 'the role `it'"'"'s me`, as which this restore is logged in, keeps its own attributes and password'
        [[ $(PGPASSWORD=mine psql -XAtq -d "$dsn" -c '\connect shop' -c 'SELECT answer FROM t' -c 'SHOW work_mem') == $'42\n7MB' ]] || fail 'other rows'
    done
}

it_does_not_wait_for_a_server_that_says_too_much_or_nothing() {
    with <(small_dump '')
    exits 3 timeout 60 "$BACKSTAY" drill -s store -i key.txt --scratch-dir scratch latest --assert "SELECT repeat('x', 330000)"
    says out 'longer than 262144 bytes'
    pg_start "$PWD/many"
    pg_on "$PWD/many" psql -X -q -c "DO \$\$ BEGIN FOR n IN 1..9000 LOOP EXECUTE format('CREATE ROLE %I', n || repeat('x', 55)); END LOOP; END \$\$"
    exits 0 timeout 60 "$BACKSTAY" restore -s store latest -i key.txt --to-db "host=$PWD/many/socket user=postgres dbname=postgres"
    # It accepts, and that is all.
    "$PYTHON" - "$PWD/mute" << 'MUTE' &
import os, socket, sys, time
os.mkdir(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + "/.s.PGSQL.5432")
listener.listen()
accepted, _ = listener.accept()
open(sys.argv[1] + "/accepted", "w").close()
time.sleep(60)
MUTE
    PIDS+=($!)
    wait_until 20 test -S "$PWD/mute/.s.PGSQL.5432"
    "$BACKSTAY" restore -s store latest -i key.txt --to-db "host=$PWD/mute user=me dbname=x" > out 2> err &
    local restore=$! status=0
    PIDS+=("$restore")
    wait_until 20 test -e mute/accepted
    kill -TERM "$restore"
    wait_until 10 has_gone "$restore"
    wait "$restore" || status=$?
    [[ $status -eq 130 ]] || fail "exit status $status"
    says err 'nothing was restored'
}
has_gone() { ! kill -0 "$1" 2> /dev/null || [[ $(ps -o stat= -p "$1") == Z* ]]; }

it_says_why_a_scratch_server_does_not_start() {
    with <(small_dump '')
    refuses target.failed drill latest --pg-set ssl=on
    says err 'could not load server certificate file'
    mkdir -m 1777 a,b
    refuses usage.arguments backstay drill -s store -i key.txt latest --scratch-dir a,b
    says err 'comma'
    exits 0 env TMPDIR= "$BACKSTAY" drill -s store -i key.txt latest
    demand_nothing_left
}

it_demands_roles_unless_told_otherwise() {
    with "$SCRATCH/shop.dump"
    pg_start "$PWD/fresh"
    local dsn="host=$PWD/fresh/socket user=postgres dbname=postgres"
    refuses target.statements backstay restore -s store latest -i key.txt --to-db "$dsn"
    says err 'role "owner_of_things" does not exist'
    pg_on "$PWD/fresh" createdb again
    exits 0 backstay restore -s store latest -i key.txt --to-db "host=$PWD/fresh/socket user=postgres dbname=again" --no-owner
    says err 'the dump has no roles: '
}

it_refuses_a_dump_that_is_newer_than_the_programs() {
    local dsn="host=$PWD/fresh/socket user=postgres dbname=postgres"
    new_key
    mkdir -m 1777 scratch
    pg_start "$PWD/fresh"
    # Of version 18, and only its beginning, which is all that is looked at.
    exits 0 backstay backup -s store -r "$RECIPIENT" --no-require-trailer < "$REPOSITORY/crates/postgres/testdata/head-18.6.dump"
    refuses target.programs backstay restore -s store latest -i key.txt --to-db "$dsn"
    says err 18
    refuses target.programs drill latest
    recorded none
    demand_nothing_left
}

it_restores_into_an_older_server_only_when_told_to() {
    with <(small_dump '' 99.1)
    pg_start "$PWD/old"
    local dsn="host=$PWD/old/socket user=postgres dbname=postgres"
    refuses target.version backstay restore -s store latest -i key.txt --to-db "$dsn"
    exits 0 backstay restore -s store latest -i key.txt --to-db "$dsn" --any-version
    says err 'warning[target.version]'
    [[ $(pg_on "$PWD/old" psql -X -A -t -c 'SELECT count(*) FROM t') == 3 ]] || fail 'it is not there'
}

it_sends_nothing_but_dumps_to_a_server() {
    pg_start "$PWD/fresh"
    tar -c "$E2E" > some.tar
    with some.tar
    local dsn="host=$PWD/fresh/socket user=postgres dbname=postgres"
    refuses target.not-a-dump backstay restore -s store latest -i key.txt --to-db "$dsn"
    refuses target.not-a-dump drill latest
    # No password is ever an argument of a program.
    refuses usage.arguments backstay restore -s store latest -i key.txt --to-db "$dsn password=secret"
    says err 'PGPASSFILE'
}

it_uses_the_password_file() {
    with <(small_dump '')
    pg_start "$PWD/fresh"
    pg_on "$PWD/fresh" psql -X -q -c "CREATE ROLE me LOGIN SUPERUSER PASSWORD 'it:s'"
    sed -i 's/trust$/scram-sha-256/' "$PWD/fresh/data/pg_hba.conf"
    pg_as_server "$PG_BIN/pg_ctl" --pgdata "$PWD/fresh/data" --silent reload
    local dsn="host=$PWD/fresh/socket user=me dbname=postgres"
    refuses target.unreachable backstay restore -s store latest -i key.txt --to-db "$dsn"
    echo '*:*:*:me:it\:s' > pass
    chmod 600 pass
    exits 0 env PGPASSFILE="$PWD/pass" "$BACKSTAY" restore -s store latest -i key.txt --to-db "$dsn"
}

run_cases "$@"
