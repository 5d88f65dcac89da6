#!/usr/bin/env bash
# Two months of one source, a day for each second or less: a backup every night to a server that checks signatures and their time, a replica, retention, an old
# manager's bucket that is taken over, a key that is changed, a part that rots, drills. The clocks of the program and of the server are set to the day,
# and so are the times of what is stored.
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

# The one of day 45 is a dump, so that it can be restored into a server.
DUMPED=45
content_of() {
    if [[ $1 == "$DUMPED" ]]; then cat "$E2E/../../crates/postgres/testdata/pg_dumpall-15.20.sql"; else noise 120000 "day $1"; fi
}

it_keeps_two_months_of_a_source_through_all_that_happens_to_it() {
    local day id old=de2fe9e4-6535-423d-8709-dca87df7985c-1740130000 part new
    mkdir -p objects/backups old replica
    export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    export BACKSTAY_STORE=s3://backups/pg
    new_key
    echo password > password
    # The source had another manager before.
    content_of old | gzip | openssl enc -aes256 -md md5 -pass file:password 2> /dev/null | split -a 1 -d -b 30000 - "old/$old-"
    printf '{"backup_id":1}' > "old/$old.json"

    for ((day = 0; day < DAYS; day++)); do
        morning "$day"
        content_of "$day" > content
        exits 0 today -q backup --name shop -r "$RECIPIENT" --part-size 64KiB < content
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
            "$DUMPED")
                # The drill that passes, by a server that is made for it, and one whose question has another answer. Both are kept.
                mkdir -p -m 1777 scratch
                exits 0 today drill shop -i new.txt --scratch-dir scratch --assert "SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'" --expect 1
                exits 3 today drill shop -i new.txt --scratch-dir scratch --assert 'SELECT 1' --expect 2
                ;;
            $((DUMPED + 1)))
                # What is no dump is not loaded; a command can look at it nevertheless.
                refuses target.not-a-dump today drill shop -i new.txt --scratch-dir scratch
                exits 0 today drill shop -i new.txt -- cmp - "$PWD/content"
                refuses target.failed today drill shop -i new.txt -- cmp - "$PWD/today"
                ;;
        esac
        exits 0 today -q copy shop --to replica
        # The dump is far smaller than what was stored before, and that looks like a source that broke.
        exits "$((day == DUMPED ? 3 : 0))" today check --max-age 26h --name shop
        exits 0 today -q prune --name shop --keep-daily 20 --keep-weekly 6 --yes
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
        content_of "$day" | cmp - out
    done
    # Of what is gone nothing is left but the newest tombstone.
    ls objects/backups/pg > objects-left
    [[ $(grep -o '^.*-[0-9]\{13\}' objects-left | sort -u | wc -l) -le $(($(wc -l < days) + 4)) ]] || fail "leftovers: $(cat objects-left)"
    exits 0 today cat "$old" -i new.txt
    content_of old | cmp - out
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
