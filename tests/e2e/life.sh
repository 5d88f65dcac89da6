#!/usr/bin/env bash
# Two months of a PostgreSQL server, a day for each second or less: every day something changes in its database, every night it is backed up with its rows
# counted, to a server that checks signatures and their time; a replica, retention of both, an old manager's bucket that is taken over, a key that is changed,
# a part that rots, a table that is emptied by mistake, drills. The clocks of the program and of the store are set to the day, and so are the times of
# what is stored.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

S3_SERVER=$(dirname "$BACKSTAY")/s3-server
[[ -x $S3_SERVER ]] || {
    echo "$0: $S3_SERVER is not there: cargo build --profile ci --workspace" >&2
    exit 2
}
SHIM=$SCRATCH/faults.so
cc -shared -fPIC -O1 -Wall -Werror -o "$SHIM" "$E2E/faults.c" -ldl
DAYS=60
# Noon of today, so that no midnight is near.
NOON=$(($(date +%s) / 86400 * 86400 + 43200))

# morning DAY: it is this day now, at the same hour, for the program and the server.
morning() {
    SHIFT=$((NOON + ($1 - DAYS) * 86400 - $(date +%s)))
    if ((${#PIDS[@]} > 0)); then
        kill "${PIDS[0]}"
        wait "${PIDS[0]}" 2> /dev/null || true
    fi
    rm -f port
    env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$SHIFT" "$S3_SERVER" objects port &
    PIDS=($!)
    wait_until 10 test -e port
    AWS_ENDPOINT_URL=http://127.0.0.1:$(< port)
    export AWS_ENDPOINT_URL
    touch today
}

# evening: what was stored today is of today.
evening() { find objects replica -type f -newer today -exec touch -d "@$(($(date +%s) + SHIFT))" {} + 2> /dev/null || true; }

today() { env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$SHIFT" "$BACKSTAY" "$@"; }

# date_of DAY
date_of() { date -u -d "@$((NOON + ($1 - DAYS) * 86400))" +%F; }

# On this day somebody empties a table.
EMPTIED=45

on_source() { pg_on "$SCRATCH/source" "$@"; }
sql() { on_source psql -X -q -A -t -v ON_ERROR_STOP=1 -d shop "$@"; }

new_source() {
    pg_start "$SCRATCH/source"
    on_source createdb shop
    sql << 'SQL'
CREATE TABLE customers (id integer PRIMARY KEY, name text);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer integer REFERENCES customers, at timestamptz DEFAULT now(), note text);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 100) n;
INSERT INTO orders (customer, note) SELECT 1 + n % 100, md5(n::text) || md5('x' || n) FROM generate_series(1, 3000) n;
SQL
}

# work_of DAY: some orders come, some change, some go; what there is then is kept to be compared with.
work_of() {
    sql -v day="$1" << 'SQL'
INSERT INTO orders (customer, note) SELECT 1 + n % 100, md5(:day || 'n' || n) || md5(:day || 'o' || n) FROM generate_series(1, 60) n;
UPDATE orders SET note = md5(:day || note) WHERE id % 60 = :day;
DELETE FROM orders WHERE id % 977 = :day;
SQL
    is_now "$1"
}
is_now() { sql -c 'COPY (SELECT * FROM orders ORDER BY id) TO STDOUT' > "was/$1"; }

# The orders in a dump, in their order.
orders_in() { pg_restore --data-only --table orders --file - "$1" | sed -n '/^COPY /,/^\\[.]$/p' | sed '1d;$d' | sort -n; }

it_keeps_two_months_of_a_source_through_all_that_happens_to_it() {
    local day id old=de2fe9e4-6535-423d-8709-dca87df7985c-1740130000 part new
    mkdir -p objects/backups old replica was
    mkdir -m 1777 scratch
    new_source
    export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    export BACKSTAY_STORE=s3://backups/pg
    new_key
    echo password > password
    # The source had another manager before.
    noise 120000 old > old-content
    gzip < old-content | openssl enc -aes256 -md md5 -pass file:password 2> /dev/null | split -a 1 -d -b 30000 - "old/$old-"
    printf '{"backup_id":1}' > "old/$old.json"

    for ((day = 0; day < DAYS; day++)); do
        morning "$day"
        ((day != EMPTIED)) || sql -c 'TRUNCATE orders'
        work_of "$day"
        exits 0 on_source env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$SHIFT" "$BACKSTAY" -q backup --name shop -r "$RECIPIENT" --part-size 64KiB --pg-dump shop --row-counts
        case $day in
            10)
                exits 0 today copy --all -s old --to "$BACKSTAY_STORE" --to-format native \
                    --passphrase-file password -r "$RECIPIENT"
                ;;
            20)
                # A new key: those who have it read all that was made before, and what is made from now on is for it alone.
                exits 0 today key generate new.txt
                new=$(< out)
                exits 0 today key rewrap --all -i key.txt -r "$new" --unless-opened-by new.txt
                [[ $(find objects/backups/pg -name '*.key.0' | wc -l) -eq $((day + 2)) ]] || fail "not every archive was rewrapped"
                RECIPIENT=$new
                ;;
            5) exits 0 today hold shop~2 --reason 'as it was before the migration' ;;
            30)
                # A part rots, and another is lost: found by the nightly check, brought back from the replica.
                id=$(today list --name shop --json | jq -r --arg day "$(date_of 12)" '.archives[] | select(.time | startswith($day)).id')
                part=objects/backups/pg/$id-1
                printf '\x00\xff' | dd of="$part" bs=1 seek=2000 conv=notrunc status=none
                refuses part.digest today verify "$id" --depth full
                rm "objects/backups/pg/$id-0"
                refuses part.missing today verify "$id" --depth quick
                exits 0 today copy "$id" --repair replica
                exits 0 today verify "$id" -i new.txt
                ;;
            "$EMPTIED")
                # The drill that passes, by a server that is made for it, and one whose question has another answer. Both are kept.
                exits 0 today drill shop -i new.txt --scratch-dir scratch --assert 'SELECT count(*) FROM customers' --expect 100
                says out 'ok   rows of each table, as counted in the backup: the same in each'
                exits 3 today drill shop -i new.txt --scratch-dir scratch --assert 'SELECT count(*) > 1000 FROM orders'
                ;;
            $((EMPTIED + 1)))
                # The rest of the world notices, too: back to the night before, and on from there.
                on_source dropdb shop
                on_source createdb shop
                exits 0 today restore "shop~2" -i new.txt --to-db "host=$SCRATCH/source/socket user=postgres dbname=shop"
                is_now back
                same "was/$((EMPTIED - 1))" was/back
                # A command can look at a dump, too.
                exits 0 today drill shop -i new.txt -- sh -c 'pg_restore --list | grep "TABLE DATA public orders"'
                refuses target.failed today drill shop -i new.txt -- sh -c 'pg_restore --list | grep "TABLE DATA public others"'
                ;;
        esac
        exits 0 today -q copy shop --to replica
        # A dump that is far smaller than the ones before looks like a source that broke.
        exits "$((day == EMPTIED || day == EMPTIED + 1 ? 3 : 0))" today check --max-age 26h --name shop
        exits 0 today -q prune --name shop --keep-daily 20 --keep-weekly 6 --yes
        # The replica by rules of its own.
        ((day % 4 > 0)) || exits 0 today -q prune -s replica --name shop --keep-daily 30 --yes
        evening
    done

    # What the rules keep is there, one of a day and whole, and so is what is held; the rest went, day by day.
    exits 0 today list --name shop --json
    cp out listed
    jq -r '.archives[].time[:10]' listed > days
    diff <(sort -u days) days
    for day in 3 $(seq $((DAYS - 20)) $((DAYS - 1))); do
        grep -qx "$(date_of "$day")" days || fail "the archive of day $day is gone: $(cat days)"
    done
    (($(wc -l < days) >= 23 && $(wc -l < days) <= 30)) || fail "the rules were not kept: $(cat days)"
    for ((day = 0; day < DAYS; day++)); do
        id=$(jq -r --arg day "$(date_of "$day")" '.archives[] | select(.time | startswith($day)).id' listed)
        [[ -n $id ]] || continue
        exits 0 today cat "$id" -i new.txt
        orders_in out | cmp - "was/$day"
    done
    # The last one and the one that is held, in servers that are made for them: what the nights counted is there.
    for day in 3 $((DAYS - 1)); do
        id=$(jq -r --arg day "$(date_of "$day")" '.archives[] | select(.time | startswith($day)).id' listed)
        exits 0 today drill "$id" -i new.txt --scratch-dir scratch --assert 'SELECT count(*) FROM orders' --expect "$(wc -l < "was/$day")"
        says out 'ok   rows of each table, as counted in the backup: the same in each'
    done
    # The replica has its 30 days, and what waits for the end of its grace.
    exits 0 today list -s replica --name shop --json
    jq -r '.archives[].time[:10]' out > replica-days
    for day in $(seq $((DAYS - 30)) $((DAYS - 1))); do
        grep -qx "$(date_of "$day")" replica-days || fail "the replica has none of day $day: $(cat replica-days)"
    done
    (($(wc -l < replica-days) <= 38)) || fail "the replica was not pruned: $(cat replica-days)"
    # Of what is gone nothing is left but the newest tombstone.
    ls objects/backups/pg > objects-left
    [[ $(grep -o '^.*-[0-9]\{13\}' objects-left | sort -u | wc -l) -le $(($(wc -l < days) + 4)) ]] || fail "leftovers: $(cat objects-left)"
    exits 0 today cat "$old" -i new.txt
    same old-content out
    exits 0 today show "$old" -i new.txt --document
    same "old/$old.json" out
    # The first key opens what it opened, and nothing that came after it.
    exits 3 today key audit -i key.txt --json
    [[ $(jq .not_opened out) -eq $(awk -v first="$(date_of 21)" '$0 >= first' days | wc -l) ]] || fail "the audit says: $(jq '.archives = null' out)"
    # Two nights without a backup are noticed.
    morning $((DAYS + 1))
    exits 22 today check --max-age 26h --name shop
}

run_cases "$@"
