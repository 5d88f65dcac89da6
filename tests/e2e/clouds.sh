#!/usr/bin/env bash
# The same on Azure and on Google Cloud Storage: azurite, which scripts/setup installs, and a server of our own that speaks what object_store sends.
# Their clock and the program's are set by files, so that what was stored is days old when it has to be.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

CLOUD_SERVER=$(dirname "$BACKSTAY")/cloud-server
[[ -x $CLOUD_SERVER ]] || {
    echo "$0: $CLOUD_SERVER is not there: cargo build --profile ci --workspace" >&2
    exit 2
}

SHIM=$SCRATCH/faults.so
cc -shared -fPIC -O1 -Wall -Werror -o "$SHIM" "$E2E/faults.c" -ldl

# cloud azure|gcs: starts a server with the container or bucket "backups", and points the environment at it.
cloud() {
    CLOUD=$1
    mkdir server
    echo 0 > server/clock
    env LD_PRELOAD="$SHIM" CLOCK_FILE="$PWD/server/clock" "$CLOUD_SERVER" "$1" "$PWD/server" backups &
    PIDS+=($!)
    wait_until 120 test -e server/environment
    # shellcheck source=/dev/null
    . server/environment
    case $1 in
        azure) BACKSTAY_STORE=az://backups/pg ;;
        gcs) BACKSTAY_STORE=gs://backups/pg ;;
    esac
    export BACKSTAY_STORE
}

# clocks SERVER OURS: the server's clock and the program's are so many seconds ahead. Signatures and tokens hold for minutes, which is how far they may differ.
clocks() {
    echo "$1" > server/clock
    OURS=$2
}
# days N: it is so many days later than when the case began.
days() { clocks $(($1 * 86400)) $(($1 * 86400)); }

# The program at the time that `days` set.
then_backstay() { env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$OURS" "$BACKSTAY" "$@"; }

# in_the_cloud COMMAND...: changes objects behind the program's back; see cloud.py.
in_the_cloud() { env LD_PRELOAD="$SHIM" CLOCK_FILE="$PWD/server/clock" "$PYTHON" "$E2E/cloud.py" "$CLOUD" "$@"; }

# objects_of ID: their names.
objects_of() { in_the_cloud list "pg/$1" | sed 's,^pg/,,'; }

# there_is ID COUNT: demands so many committed archives of all names, and this one among them or, with a minus before it, not.
there_is() {
    exits 0 then_backstay list --json
    [[ $(jq '.archives | length' out) -eq $2 ]] || fail "there are not $2 archives: $(jq -r '.archives[].id' out)"
    [[ $(jq --arg id "${1#-}" '[.archives[] | select(.id == $id)] | length' out) -eq $([[ $1 == -* ]] && echo 0 || echo 1) ]] || fail "$1: $(jq -r '.archives[].id' out)"
}

# the_whole_way: what everybody does with an archive, on the store that the environment names.
the_whole_way() {
    local id
    new_key
    noise 9000000 cloud > content
    exits 0 backstay backup -r "$RECIPIENT" --part-size 4MiB --name files < content
    id=$(cut -d ' ' -f 1 out)
    exits 0 backstay list
    [[ $(grep -c committed out) -eq 1 ]] || fail "list says: $(cat out)"
    for depth in quick full deep; do
        exits 0 backstay verify latest -i key.txt --depth "$depth"
    done
    exits 0 backstay restore latest -i key.txt -o back
    same content back
    exits 0 backstay cat latest -i key.txt --range 4194300..4194310
    dd if=content of=range bs=1 skip=4194300 count=10 status=none
    same range out

    # To a directory, and from there to another place of the cloud: the same bytes.
    exits 0 backstay copy "$id" --to "$PWD/local"
    exits 0 backstay verify "$id" --store "$PWD/local" --depth full
    exits 0 backstay copy "$id" --store "$PWD/local" --to "$BACKSTAY_STORE/second"
    exits 0 backstay cat "$id" --store "$BACKSTAY_STORE/second" -i key.txt
    same content out
    exits 0 backstay copy "$id" --store "$PWD/local" --to "$BACKSTAY_STORE/second"

    # What a run leaves whose source failed is not listed as an archive, and is found.
    refuses source.failed backstay backup -r "$RECIPIENT" --part-size 4MiB --name files -- sh -c 'cat content; exit 1'
    exits 0 backstay list
    [[ $(grep -c committed out) -eq 1 ]] || fail "list says: $(cat out)"
    exits 0 backstay gc
    says out kept
    exits 0 backstay gc --yes
    exits 0 backstay verify "$id" --depth full
}

# the_way_out: retention, and the clearing away of leftovers. Everything that deletes.
the_way_out() {
    local day id held destroyed left ID=()
    new_key
    for day in 0 1 2 3; do
        days "$day"
        noise 3000000 "day $day" > "content$day"
        exits 0 then_backstay backup -r "$RECIPIENT" --part-size 1MiB --name shop --detached-keys < "content$day"
        ID[day]=$(cut -d ' ' -f 1 out)
    done
    id=${ID[0]} held=${ID[1]} destroyed=${ID[2]}

    # A hold, until it is taken away.
    exits 0 then_backstay hold "$held" --reason 'before the move'
    exits 0 then_backstay list --held
    says out "$held"
    refuses retention.held then_backstay rm "$held" --yes
    exits 0 then_backstay prune --keep-last 1
    grep -qE "^$held +shop +kept .* held" out || fail "$(cat out)"
    there_is "$id" 4

    # A tombstone first; what it is for is deleted when the grace is over.
    exits 0 then_backstay prune --keep-last 1 --yes
    objects_of "$id" > objects
    says objects "$id.expired"
    there_is "$id" 4
    days 4
    exits 0 then_backstay prune --keep-last 1 --yes
    there_is "$id" 4
    days 6
    exits 0 then_backstay prune --keep-last 1 --yes --json
    there_is "-$id" 2
    there_is "$held" 2
    for id in "$id" "$destroyed"; do
        ! objects_of "$id" | grep -v '[.]expired$' || fail "this is left of $id"
    done
    exits 0 then_backstay release "$held"
    # A clock that is wrong deletes nothing, as long as the other one is right.
    exits 0 then_backstay prune --keep-last 1 --grace 2m --yes
    clocks $((6 * 86400)) $((6 * 86400 + 200))
    exits 0 then_backstay prune --keep-last 1 --grace 2m --yes
    there_is "$held" 2
    clocks $((6 * 86400 + 200)) $((6 * 86400))
    exits 0 then_backstay prune --keep-last 1 --grace 2m --yes
    there_is "$held" 2
    clocks $((6 * 86400 + 200)) $((6 * 86400 + 200))
    exits 0 then_backstay prune --keep-last 1 --grace 2m --yes
    there_is "-$held" 1
    exits 0 then_backstay cat latest -i key.txt
    same content3 out
    # Without a grace, in one run.
    exits 0 then_backstay backup -r "$RECIPIENT" --name shop < content0
    exits 0 then_backstay prune --keep-last 1 --grace 0s --yes
    there_is "-${ID[3]}" 1

    # One by its id.
    refuses retention.newest then_backstay rm latest --yes
    id=$(then_backstay list --json | jq -r '.archives[0].id')
    exits 0 then_backstay backup -r "$RECIPIENT" --name shop --detached-keys < content1
    exits 0 then_backstay rm "$id"
    there_is "$id" 2
    exits 0 then_backstay rm "$id" --yes
    there_is "-$id" 1
    [[ -z $(objects_of "$id") ]] || fail "rm leaves $(objects_of "$id")"

    # The keys alone.
    destroyed=$(then_backstay list --json | jq -r '.archives[0].id')
    objects_of "$destroyed" | grep -q '[.]key[.]' || fail 'there is no keybox'
    # Whether old versions stay cannot be told here, so that this is not called done.
    exits 3 then_backstay key destroy "$destroyed" --yes
    says err 'whether this store keeps old versions of what is deleted cannot be told here'
    ! objects_of "$destroyed" | grep '[.]key[.]' || fail 'the keybox is there'
    refuses key.not-found then_backstay cat "$destroyed" -i key.txt

    # What a failed source left goes two days later, by both clocks, and its marker two days after that.
    refuses source.failed then_backstay backup -r "$RECIPIENT" --part-size 1MiB --name other -- sh -c 'cat content0; exit 1'
    left=$(then_backstay list --incomplete --json | jq -r '.archives[] | select(.state != "committed").id')
    objects_of "$left" > parts-left
    [[ $(wc -l < parts-left) -ge 2 ]] || fail "not much is left: $(cat parts-left)"
    exits 0 then_backstay gc --yes
    says out kept
    days 9
    exits 0 then_backstay gc
    says out due
    objects_of "$left" | cmp - parts-left
    exits 0 then_backstay gc --yes
    [[ $(objects_of "$left") == "$left.json" ]] || fail "gc leaves $(objects_of "$left")"
    days 10
    exits 0 then_backstay gc --yes
    [[ $(objects_of "$left") == "$left.json" ]] || fail 'the marker went too early'
    days 12
    exits 0 then_backstay gc --yes
    [[ -z $(objects_of "$left") ]] || fail "gc leaves $(objects_of "$left")"
    there_is "$destroyed" 1
}

# the_way_back: everything that mends, and two stores at once.
the_way_back() {
    local id new
    new_key
    sed 's,"gcs_base_url":"[^"]*","gcs_base_url":"http://127.0.0.1:1",' server/account.json > nowhere.json || true
    noise 6000000 mended > content
    # Two stores in one pass, the other one in this cloud and then a directory.
    exits 0 backstay backup -r "$RECIPIENT" --part-size 1MiB --name shop --also "$BACKSTAY_STORE/second" < content
    id=$(cut -d ' ' -f 1 out)
    exits 0 backstay verify "$id" --store "$BACKSTAY_STORE/second" -i key.txt
    exits 0 backstay backup -r "$RECIPIENT" --part-size 1MiB --name other --also "$PWD/replica" < content
    exits 0 backstay verify other --store replica -i key.txt
    exits 0 backstay copy "$id" --to replica

    # A rotten part and a lost one.
    in_the_cloud flip "pg/$id-3" 700000
    in_the_cloud delete "pg/$id-5"
    refuses part.missing backstay verify "$id" --depth quick
    refuses part.missing backstay salvage "$id" -i key.txt -o rescued
    # A frame has 2 MiB.
    cmp -n 2097152 content rescued
    (($(stat -c %s rescued) >= 2097152)) || fail "$(stat -c %s rescued) bytes were rescued"
    exits 0 backstay copy "$id" --repair "$BACKSTAY_STORE/second"
    exits 0 backstay verify "$id" -i key.txt
    in_the_cloud flip "pg/$id-0" 700000
    refuses part.digest backstay verify "$id" --depth full
    exits 0 backstay copy "$id" --repair replica
    exits 0 backstay cat "$id" -i key.txt
    same content out

    # A manifest that is gone, and one that is damaged.
    in_the_cloud delete "pg/$id.json"
    refuses archive.uncommitted backstay cat "$id" -i key.txt
    exits 0 backstay reassemble "$id" -i key.txt --name shop
    exits 0 backstay verify "$id" -i key.txt
    in_the_cloud put "pg/$id.json" <<< '{"format": "backstay", "version": 1, '
    exits 0 backstay reassemble "$id" -i key.txt --name shop --replace
    exits 0 backstay cat shop -i key.txt
    same content out

    # Another key, and what was said of an archive.
    exits 0 backstay key generate new.txt
    new=$(< out)
    exits 0 backstay key rewrap --all -i key.txt -r "$new" --unless-opened-by new.txt
    exits 0 backstay cat shop -i new.txt
    same content out
    exits 0 backstay note shop 'looked at'
    exits 0 backstay tag shop monthly
    exits 0 backstay verify shop -i key.txt --record
    exits 0 backstay list --verified good --tag monthly
    says out "$id"

    # By way of a spool: what an unreachable server was not sent is sent by the next run.
    refuses store.failed env AZURE_STORAGE_ENDPOINT=http://127.0.0.1:1 GOOGLE_APPLICATION_CREDENTIALS="$PWD/nowhere.json" \
        "$BACKSTAY" backup -r "$RECIPIENT" --part-size 1MiB --name spooled --spool spool --retry-for 0s < content
    exits 0 backstay backup --spool spool --resume
    [[ -z $(find spool -type f ! -name '.*') ]] || fail "something stays in the spool: $(find spool)"
    exits 0 backstay cat spooled -i key.txt
    same content out

    # What the store is: what cannot be told is not called good.
    exits 0 backstay check
    grep -qE '^list +good ' out || fail "$(cat out)"
    grep -qE '^conditional-create +good ' out || fail "$(cat out)"
    grep -qE '^read +good ' out || fail "$(cat out)"
    grep -qE '^delete +good ' out || fail "$(cat out)"
    grep -qE '^checksum +- ' out || fail "$(cat out)"
    for what in versioning object-lock lifecycle; do
        grep -qE "^$what +- +cannot be told here: see the bucket's or container's own page" out || fail "$what: $(cat out)"
    done
    ! in_the_cloud list pg/backstay-probe | grep . || fail 'check leaves something'
    exits 0 backstay check --max-age 1h --name shop
    exits 22 backstay check --max-age 1h --name nobody
}

it_goes_the_whole_way_on_azure() {
    cloud azure
    the_whole_way
}

it_goes_the_whole_way_on_gcs() {
    cloud gcs
    the_whole_way
}

it_deletes_what_is_due_on_azure_and_nothing_else() {
    cloud azure
    the_way_out
}

it_deletes_what_is_due_on_gcs_and_nothing_else() {
    cloud gcs
    the_way_out
}

it_mends_what_is_damaged_on_azure() {
    cloud azure
    the_way_back
}

it_mends_what_is_damaged_on_gcs() {
    cloud gcs
    the_way_back
}

# The one object that the a9s Backup Manager keeps on Azure: `cat` and stock tools read it.
it_writes_one_object_of_the_openssl_format_on_azure() {
    local id
    cloud azure
    echo correct-horse > password.txt
    noise 9000000 single > content
    exits 0 backstay backup --format openssl --single --passphrase-file password.txt --part-size 1MiB --name shop < content
    id=$(cut -d ' ' -f 1 out)
    [[ $(objects_of "$id") == "$id"$'\n'"$id.json" ]] || fail "there is: $(objects_of "$id")"
    in_the_cloud get "pg/$id" | openssl enc -aes256 -md md5 -d -pass file:password.txt 2> err | gunzip -c > back
    same content back
    exits 0 backstay cat "$id" --passphrase-file password.txt --require-seal
    same content out
    exits 0 backstay verify "$id" --depth full
    # A failing source leaves nothing that anybody sees.
    refuses source.failed backstay backup --format openssl --single --passphrase-file password.txt --part-size 1MiB --name shop -- \
        sh -c 'cat content; exit 1'
    [[ $(in_the_cloud list pg/ | wc -l) -eq 2 ]] || fail "there is: $(in_the_cloud list pg/)"
    # To a directory and back it is the same one object.
    exits 0 backstay copy "$id" --to "$PWD/local"
    exits 0 backstay copy "$id" --store "$PWD/local" --to "$BACKSTAY_STORE/second"
    in_the_cloud get "pg/second/$id" | cmp - "local/$id"
    exits 0 backstay backup --format openssl --single --passphrase-file password.txt --name shop < content
    exits 0 backstay rm "$id" --yes
    [[ -z $(objects_of "$id") ]] || fail "rm leaves $(objects_of "$id")"
}

it_refuses_one_object_of_unknown_length_on_gcs_before_the_source_is_run() {
    cloud gcs
    echo correct-horse > password.txt
    refuses store.unsupported backstay backup --format openssl --single --passphrase-file password.txt -- sh -c 'touch ran; echo content'
    says err 'directories and Azure do'
    [[ ! -e ran ]] || fail 'the source was run'
}

it_names_what_is_wrong_with_azure() {
    cloud azure
    new_key
    refuses store.not-found backstay backup -s az://no-such-container/pg -r "$RECIPIENT" -- echo content
    says err no-such-container
    export AZURE_STORAGE_KEY=d3Jvbmc=
    refuses store.denied backstay list
    unset AZURE_STORAGE_KEY AZURE_STORAGE_ACCOUNT
    refuses usage.credentials backstay list
    says err AZURE_STORAGE_ACCOUNT
}

it_names_what_is_wrong_with_gcs() {
    cloud gcs
    new_key
    refuses store.not-found backstay backup -s gs://no-such-bucket/pg -r "$RECIPIENT" -- echo content
    says err no-such-bucket
    jq '.client_email = "somebody@else"' server/account.json > strange.json
    export GOOGLE_APPLICATION_CREDENTIALS=$PWD/strange.json
    refuses store.denied backstay list
    export GOOGLE_APPLICATION_CREDENTIALS=$PWD/nowhere.json
    refuses usage.credentials backstay list
    says err nowhere.json
}

run_cases "$@"
