#!/usr/bin/env bash
# The same on Azure and on Google Cloud Storage: azurite, which scripts/setup installs, and a server of our own that speaks what object_store sends.
# Their clock and the program's are set by files, so that what was stored is days old when it has to be.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

CLOUD_SERVER=$(dirname "$BACKSTAY")/cloud-server S3_SERVER=$(dirname "$BACKSTAY")/s3-server
for program in "$CLOUD_SERVER" "$S3_SERVER"; do
    [[ -x $program ]] || {
        echo "$0: $program is not there: cargo build --profile ci --workspace" >&2
        exit 2
    }
done

SHIM=$SCRATCH/faults.so
cc -shared -fPIC -O1 -Wall -Werror -o "$SHIM" "$E2E/faults.c" -ldl

# cloud azure|gcs: starts a server with the container or bucket "backups", and points the environment at it.
cloud() {
    CLOUD=$1 SERVER=$PWD/server-$1
    mkdir "$SERVER"
    echo 0 > "$SERVER/clock"
    env LD_PRELOAD="$SHIM" CLOCK_FILE="$SERVER/clock" "$CLOUD_SERVER" "$1" "$SERVER" backups &
    PIDS+=($!)
    wait_until 120 test -e "$SERVER/environment"
    # shellcheck source=/dev/null
    . "$SERVER/environment"
    case $1 in
        azure) BACKSTAY_STORE=az://backups/pg ;;
        gcs) BACKSTAY_STORE=gs://backups/pg ;;
    esac
    export BACKSTAY_STORE
}

# clocks SERVER OURS: the server's clock and the program's are so many seconds ahead. Signatures and tokens hold for minutes, which is how far they may differ.
clocks() {
    echo "$1" > "$SERVER/clock"
    OURS=$2
}
# days N: it is so many days later than when the case began.
days() { clocks $(($1 * 86400)) $(($1 * 86400)); }

# The program at the time that `days` set.
then_backstay() { env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$OURS" "$BACKSTAY" "$@"; }

# in_the_cloud COMMAND...: changes objects behind the program's back; see cloud.py.
in_the_cloud() { env LD_PRELOAD="$SHIM" CLOCK_FILE="$SERVER/clock" "$PYTHON" "$E2E/cloud.py" "$CLOUD" "$@"; }

# objects_of ID: writes their names to the file `objects`. Not to a pipe or into a word of the shell: there a listing that fails would be an empty one.
objects_of() {
    in_the_cloud list "pg/$1" > listing
    sed 's,^pg/,,' listing > objects
}

# nothing_of ID: demands that nothing of it is there.
nothing_of() {
    objects_of "$1"
    [[ ! -s objects ]] || fail "this is left of $1: $(cat objects)"
}

# only_the_marker_of ID: demands that nothing else of it is there.
only_the_marker_of() {
    objects_of "$1"
    [[ $(< objects) == "$1.json" ]] || fail "gc leaves $(cat objects)"
}

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
    objects_of "$id"
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
        objects_of "$id"
        ! grep -v '[.]expired$' objects || fail "this is left of $id"
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
    nothing_of "$id"

    # The keys alone.
    destroyed=$(then_backstay list --json | jq -r '.archives[0].id')
    objects_of "$destroyed"
    grep -q '[.]key[.]' objects || fail 'there is no keybox'
    # Whether old versions stay cannot be told here, so that this is not called done.
    exits 3 then_backstay key destroy "$destroyed" --yes
    says err 'whether this store keeps old versions of what is deleted cannot be told here'
    objects_of "$destroyed"
    ! grep '[.]key[.]' objects || fail 'the keybox is there'
    says objects "$destroyed.json"
    refuses key.not-found then_backstay cat "$destroyed" -i key.txt

    # What a failed source left goes two days later, by both clocks, and its marker two days after that.
    refuses source.failed then_backstay backup -r "$RECIPIENT" --part-size 1MiB --name other -- sh -c 'cat content0; exit 1'
    left=$(then_backstay list --incomplete --json | jq -r '.archives[] | select(.state == "incomplete").id')
    objects_of "$left"
    mv objects parts-left
    [[ $(wc -l < parts-left) -ge 2 ]] || fail "not much is left: $(cat parts-left)"
    exits 0 then_backstay gc --yes
    says out kept
    days 9
    exits 0 then_backstay gc
    says out due
    objects_of "$left"
    same objects parts-left
    exits 0 then_backstay gc --yes
    only_the_marker_of "$left"
    days 10
    exits 0 then_backstay gc --yes
    only_the_marker_of "$left"
    days 12
    exits 0 then_backstay gc --yes
    nothing_of "$left"
    there_is "$destroyed" 1
}

# the_way_back: everything that mends, and two stores at once.
the_way_back() {
    local id new
    new_key
    sed 's,"gcs_base_url":"[^"]*","gcs_base_url":"http://127.0.0.1:1",' "$SERVER/account.json" > nowhere.json || true
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
    grep -qE '^clock +good ' out || fail "$(cat out)"
    grep -qE '^latency +[0-9]+ ms to create a small object$' out || fail "$(cat out)"
    for what in upload download; do
        grep -qE "^$what +[0-9.]+ ([KMGT]i)?B/s in one request of 4 MiB$" out || fail "$what: $(cat out)"
    done
    exits 0 backstay check --json
    measured out
    jq -e '.verdict == "good" and ([.items[].code] | unique == [null]) and (.clock_offset_ms | fabs < 10000)
        and ([.items[] | select(.verdict == "unknown") | .what] == ["checksum", "versioning", "object-lock", "lifecycle"])' out > /dev/null || fail "$(cat out)"
    nothing_of backstay-probe
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
    objects_of "$id"
    [[ $(< objects) == "$id"$'\n'"$id.json" ]] || fail "there is: $(cat objects)"
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
    nothing_of "$id"
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
    jq '.client_email = "somebody@else"' "$SERVER/account.json" > strange.json
    export GOOGLE_APPLICATION_CREDENTIALS=$PWD/strange.json
    refuses store.denied backstay list
    export GOOGLE_APPLICATION_CREDENTIALS=$PWD/nowhere.json
    refuses usage.credentials backstay list
    says err nowhere.json
}

# The program with the signature in SIGNATURE in place of the account's key.
with_signature() { env -u AZURE_STORAGE_KEY AZURE_STORAGE_SAS_TOKEN="$SIGNATURE" LD_PRELOAD="$SHIM" CLOCK_SHIFT="$OURS" "$BACKSTAY" "$@"; }

# Azure's server looks at no date of a request that is signed with the account's key, but at those of a shared access signature, which somebody made on
# a machine whose clock is off.
it_names_the_clock_when_azure_refuses_a_signature_that_is_not_for_now() {
    local shift said verb
    cloud azure
    new_key
    for shift in 0 7230 -7230; do
        clocks 0 $shift
        SIGNATURE=$(env LD_PRELOAD="$SHIM" CLOCK_SHIFT=$shift "$PYTHON" "$E2E/cloud.py" azure signature)
        if ((shift == 0)); then
            exits 0 with_signature backup -r "$RECIPIENT" --name clock < <(echo content)
            exits 0 with_signature cat clock -i key.txt
            says out content
            continue
        fi
        said=$( ((shift > 0)) && echo '2 hours ahead of' || echo '2 hours behind')
        refuses store.denied with_signature backup -r "$RECIPIENT" --name clock < <(echo content)
        says err "hint: the clock of this machine is $said the store's"
        for verb in list 'cat clock -i key.txt' 'gc --yes' check; do
            # shellcheck disable=SC2086 # several words
            refuses store.denied with_signature $verb
            says err "hint: the clock of this machine is $said the store's"
        done
    done
    there_is "$(then_backstay list --json | jq -r '.archives[0].id')" 1
}

it_names_the_clock_when_gcs_refuses_a_token_that_is_not_for_now() {
    local shift said verb
    cloud gcs
    new_key
    exits 0 backstay backup -r "$RECIPIENT" --name clock < <(echo content)
    for shift in 7230 -7230; do
        clocks 0 $shift
        said=$( ((shift > 0)) && echo '2 hours ahead of' || echo '2 hours behind')
        refuses store.denied then_backstay backup -r "$RECIPIENT" --name clock < <(echo content)
        says err "hint: the clock of this machine is $said the store's"
        for verb in list 'cat clock -i key.txt' 'gc --yes' check; do
            # shellcheck disable=SC2086 # several words
            refuses store.denied then_backstay $verb
            says err "hint: the clock of this machine is $said the store's"
        done
    done
    exits 0 backstay cat clock -i key.txt
    says out content
}

# the_clock_is_told SECONDS: `check` warns of a clock that is off in either direction, where the store takes what comes all the same.
the_clock_is_told() {
    local shift side
    for shift in "$1" "-$1"; do
        clocks 0 "$shift"
        side=$([[ $shift == -* ]] && echo behind || echo 'ahead of')
        exits 3 then_backstay check
        grep -qE "^clock +warning +this machine's is ($(($1 - 1))|$1|$(($1 + 1))) s $side the store's$" out || fail "$(cat out)"
        exits 3 then_backstay check --json
        measured out
        jq -e --argjson shift "$shift" '.verdict == "warning" and (.clock_offset_ms + 1000 * $shift | fabs < 10000)
            and (.items[] | select(.what == "clock") | .verdict == "warning" and .code == null)' out > /dev/null || fail "$(cat out)"
    done
}

it_warns_of_a_clock_that_is_off_on_azure() {
    cloud azure
    the_clock_is_told 7200
}

it_warns_of_a_clock_that_is_off_on_gcs() {
    # Tokens hold for minutes.
    cloud gcs
    the_clock_is_told 120
}

it_gives_new_objects_of_azure_their_tier_and_tags() {
    local id name
    cloud azure
    new_key
    echo correct-horse > password.txt
    noise 3000000 given > content
    printf '%s\n' 'tier Cool' 'tag purpose=nightly backup' 'tag team=db' > wanted
    local given=(--storage-class Cool --object-tag team=db --object-tag 'purpose=nightly backup' --part-size 1MiB)
    exits 0 backstay backup -r "$RECIPIENT" --detached-keys --name given "${given[@]}" < content
    id=$(cut -d ' ' -f 1 out)
    objects_of "$id"
    [[ $(wc -l < objects) -ge 5 ]] || fail "there is: $(cat objects)"
    # The one object of the openssl format gets them with the list of its blocks.
    exits 0 backstay backup --format openssl --single --passphrase-file password.txt --name single "${given[@]}" < content
    cut -d ' ' -f 1 out >> objects
    while read -r name; do
        in_the_cloud given "pg/$name" > found
        sort -r found | cmp - <(sort -r wanted) || fail "$name has $(cat found)"
    done < objects
    exits 0 backstay backup -r "$RECIPIENT" --name plain < content
    in_the_cloud given "pg/$(cut -d ' ' -f 1 out).json" > found
    [[ $(< found) == 'tier Hot' || $(< found) == 'tier None' ]] || fail "an object that was given nothing has $(cat found)"
    exits 0 backstay cat given -i key.txt
    same content out
    # What the container's policy is for is not for the command line, and is not passed over.
    refuses store.unsupported backstay backup -r "$RECIPIENT" --name locked --lock-mode governance --lock-for 1d -- sh -c 'touch ran; echo content'
    [[ ! -e ran ]] || fail 'the source was run'
}

# port_of URL: its port.
port_of() { sed -E 's,^https?://[^/:]+:([0-9]+).*,\1,' <<< "$1"; }
# account_at URL: a service account whose server is there.
account_at() {
    jq --arg url "$1" '.gcs_base_url = $url' "$SERVER/account.json" > account.json
    export GOOGLE_APPLICATION_CREDENTIALS=$PWD/account.json
}

# only_when_told: that the authority is believed only when it is named, for everything that a backup and a restore ask.
only_when_told() {
    new_key
    refuses store.failed backstay list --retry-for 0s
    says err 'certificate'
    exits 0 backstay check --ca-file ca.pem
    noise 3000000 tls > content
    exits 0 backstay backup -r "$RECIPIENT" --part-size 1MiB --name tls --ca-file ca.pem < content
    BACKSTAY_CA_FILE=ca.pem exits 0 backstay cat tls -i key.txt
    same content out
    exits 0 backstay rm "$(backstay list --ca-file ca.pem --json | jq -r '.archives[0].id')" --ca-file ca.pem --yes --force
}

# over_tls URL: a server that ends TLS before the one at the URL; SECURE is where it is.
over_tls() {
    authority
    "$PYTHON" "$E2E/tunnel.py" tls tls-port "$(port_of "$1")" server.pem server.key &
    PIDS+=($!)
    wait_until 10 test -e tls-port
    SECURE=https://localhost:$(< tls-port)
}

it_believes_an_authority_of_ones_own_on_azure_only_when_told() {
    cloud azure
    over_tls "$AZURE_STORAGE_ENDPOINT"
    export AZURE_STORAGE_ENDPOINT=$SECURE
    only_when_told
    # The blocks of one object are sent by requests of our own.
    echo correct-horse > password.txt
    local single=(backup --format openssl --single --passphrase-file password.txt --name single)
    refuses store.failed backstay "${single[@]}" --retry-for 0s < content
    exits 0 backstay "${single[@]}" --ca-file ca.pem < content
    exits 0 backstay cat single --passphrase-file password.txt --ca-file ca.pem
    same content out
}

it_believes_an_authority_of_ones_own_on_gcs_only_when_told() {
    cloud gcs
    over_tls "$(jq -r .gcs_base_url "$SERVER/account.json")"
    account_at "$SECURE"
    only_when_told
}

# proxied HOST=PORT...: a proxy that knows these hosts.
proxied() {
    "$PYTHON" "$E2E/tunnel.py" proxy proxy-port proxy.log "$@" &
    PIDS+=($!)
    wait_until 10 test -e proxy-port
    HTTP_PROXY=http://127.0.0.1:$(< proxy-port)
    export HTTP_PROXY
}

# goes_through METHOD-AND-URL: that whatever is asked goes through the proxy, and by no other way.
goes_through() {
    new_key
    exits 0 backstay backup -r "$RECIPIENT" --name proxied -- echo content
    exits 0 backstay cat proxied -i key.txt
    says out content
    says proxy.log "PUT $1"
    says proxy.log "GET $1"
    : > proxy.log
    refuses store.failed env NO_PROXY=example.test "$BACKSTAY" list --retry-for 0s
    [[ ! -s proxy.log ]] || fail "the proxy was asked: $(cat proxy.log)"
}

it_goes_to_azure_through_the_proxy_that_the_environment_names() {
    local host=devstoreaccount1.blob.example.test
    cloud azure
    # A name that begins with the account's has no account in its path, as those of Azure.
    proxied "$host=$(port_of "$AZURE_STORAGE_ENDPOINT")" devstoreaccount1.blob.core.chinacloudapi.cn=1 devstoreaccount1.blob.core.windows.net=1
    export AZURE_STORAGE_ENDPOINT=http://$host
    goes_through "http://$host/backups"
    # Without an address the account's own is asked, in the cloud that the variable names, by way of a tunnel.
    unset AZURE_STORAGE_ENDPOINT
    HTTPS_PROXY=$HTTP_PROXY refuses store.failed backstay list --retry-for 0s
    says proxy.log 'CONNECT devstoreaccount1.blob.core.windows.net:443'
    HTTPS_PROXY=$HTTP_PROXY AZURE_ENDPOINT_SUFFIX=core.chinacloudapi.cn refuses store.failed backstay list --retry-for 0s
    says proxy.log 'CONNECT devstoreaccount1.blob.core.chinacloudapi.cn:443'
}

it_goes_to_gcs_through_the_proxy_that_the_environment_names() {
    cloud gcs
    proxied "storage.example.test=$(port_of "$(jq -r .gcs_base_url "$SERVER/account.json")")" storage.googleapis.com=1
    account_at http://storage.example.test
    goes_through http://storage.example.test/backups
    account_at https://storage.googleapis.com
    HTTPS_PROXY=$HTTP_PROXY refuses store.failed backstay list --retry-for 0s
    says proxy.log 'CONNECT storage.googleapis.com:443'
}

# objects_in SCHEME PREFIX DIRECTORY: copies all objects there, without Backstay.
objects_in() {
    mkdir "$3"
    case $1 in
        az) CLOUD=azure SERVER=$PWD/server-azure in_the_cloud dump "$2/" "$3" ;;
        gs) CLOUD=gcs SERVER=$PWD/server-gcs in_the_cloud dump "$2/" "$3" ;;
        s3) cp "objects/backups/$2"/* "$3" ;;
    esac
}

it_copies_between_any_two_clouds_and_stores_in_two_at_once() {
    local from to name
    cloud azure
    cloud gcs
    mkdir -p objects/backups
    "$S3_SERVER" objects port &
    PIDS+=($!)
    wait_until 10 test -e port
    AWS_ENDPOINT_URL=http://127.0.0.1:$(< port)
    export AWS_ENDPOINT_URL AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    unset BACKSTAY_STORE
    new_key
    echo correct-horse > password.txt
    noise 5000000 first > first.content
    noise 3000000 second > second.content
    # One pass, two clouds, and what the one has is what the other has.
    exits 0 backstay backup -s az://backups/one --also gs://backups/one -r "$RECIPIENT" --detached-keys --part-size 1MiB --name first < first.content
    objects_in az one in-azure
    objects_in gs one in-gcs
    diff -r in-azure in-gcs || fail 'the two stores differ'
    exits 0 backstay backup -s s3://backups/two --also az://backups/two -r "$RECIPIENT" --part-size 1MiB --name third < second.content
    objects_in s3 two two-in-s3
    objects_in az two two-in-azure
    diff -r two-in-s3 two-in-azure || fail 'the two stores differ'
    # Another one, of the other format, in one of them; then all of it from each cloud to each other one.
    exits 0 backstay backup -s az://backups/one --format openssl --passphrase-file password.txt --part-size 1MiB --name second < second.content
    exits 0 backstay copy --all -s az://backups/one --to gs://backups/one
    exits 0 backstay copy --all -s gs://backups/one --to s3://backups/one
    objects_in az one whole
    [[ $(find whole -type f | wc -l) -ge 10 ]] || fail "there is: $(ls whole)"
    for from in az gs s3; do
        for to in az gs s3; do
            [[ $from != "$to" ]] || continue
            exits 0 backstay copy --all -s "$from://backups/one" --to "$to://backups/from-$from"
            objects_in "$to" "from-$from" "$from-$to"
            diff -r whole "$from-$to" || fail "$to does not have what $from has"
            exits 0 backstay cat first -s "$to://backups/from-$from" -i key.txt
            same first.content out
            exits 0 backstay cat second -s "$to://backups/from-$from" --passphrase-file password.txt
            same second.content out
        done
    done
}

run_cases "$@"
