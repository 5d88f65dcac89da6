#!/usr/bin/env bash
# Everything around the program that can fail, with real processes: disks, descriptors, pipes, clocks, names, certificates, connections. Each
# case says how the run ends, and that nothing is called good that is not.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

SERVERS=$(dirname "$BACKSTAY")
for server in s3-server proxy; do
    [[ -x $SERVERS/$server ]] || {
        echo "$0: $SERVERS/$server is not there: cargo build --profile ci --workspace" >&2
        exit 2
    }
done
SHIM=$SCRATCH/faults.so
cc -shared -fPIC -O1 -Wall -Werror -o "$SHIM" "$E2E/faults.c" -ldl

# under VARIABLE=VALUE... -- COMMAND...: with these faults (see faults.c).
under() {
    local variables=()
    while [[ $1 != -- ]]; do
        variables+=("$1")
        shift
    done
    shift
    env LD_PRELOAD="$SHIM" "${variables[@]}" "$@"
}

YEARS=315576000

s3_server() {
    mkdir -p objects/backups
    "$SERVERS/s3-server" objects port &
    PIDS+=($!)
    wait_until 10 test -e port
    export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    export BACKSTAY_STORE=s3://backups/pg
    reach "$(< port)"
}

reach() { export AWS_ENDPOINT_URL=http://127.0.0.1:$1; }

# behind_proxy RULE...: the server, and a proxy before it in which some requests meet a fate.
behind_proxy() {
    [[ -e port ]] || s3_server
    rm -f proxy-port
    touch fates
    "$SERVERS/proxy" "$(< port)" proxy-port fates "$@" &
    PIDS+=($!)
    wait_until 10 test -e proxy-port
    reach "$(< proxy-port)"
}

no_manifest_on_the_server() {
    [[ -z $(find objects/backups -name '*.json') ]] || fail "there is a manifest"
}

# keyed: a key and the variables with which it is used.
keyed() {
    new_key
    export BACKSTAY_RECIPIENT=$RECIPIENT BACKSTAY_IDENTITY=$PWD/key.txt
}

# a_store: a directory with one archive of ./content in three parts.
a_store() {
    keyed
    export BACKSTAY_STORE=$PWD/store
    noise 10000000 faults > content
    exits 0 backstay -q backup --part-size 4MiB --name files < content
}

restores() {
    exits 0 backstay -q cat "${1:-latest}"
    same content out
}

# ends_well_or_not_at_all: what a run that may have failed left is no archive, or a good one.
ends_well_or_not_at_all() {
    local id
    exits 0 backstay list --json
    for id in $(jq -r '.archives[] | select(.state == "committed") | .id' out); do
        exits 0 backstay -q verify "$id" --depth deep
        exits 0 backstay -q cat "$id"
        same content out
    done
}

# every_call CALL UNDER COMMAND...: again and again, each time with another call that fails with EIO, until none is left to fail; the command
# gets the number. Prints how many there were.
every_call() {
    local call=$1 under=$2 number=0
    shift 2
    while :; do
        number=$((number + 1))
        rm -f mark
        FAULT_CALL=$call FAULT_UNDER=$under FAULT_AT=$number FAULT_MARK=$PWD/mark "$@" "$number"
        [[ -e mark ]] || break
        ((number < 400)) || fail "it does not end"
    done
    CALLS=$((number - 1))
}

it_commits_nothing_when_the_disk_fails_at_any_flush_write_or_link() {
    local call
    keyed
    noise 5000000 faults > content
    # shellcheck disable=SC2329 # called by every_call
    one() {
        local status=0
        rm -rf store
        under -- "$BACKSTAY" -q backup -s "$PWD/store" --part-size 4MiB --name files < content > receipt 2> err || status=$?
        if [[ ! -e mark ]]; then
            [[ $status -eq 0 ]] || fail "status $status without a fault: $(< err)"
            return
        fi
        ((status != 0)) || {
            fail "$call $1 failed and the run did not"
        }
        [[ $status -eq 40 ]] || fail "exit status $status: $(< err)"
        says err 'error[store.failed]'
        says err 'Input/output error'
        if [[ -e store ]]; then BACKSTAY_STORE=store ends_well_or_not_at_all; fi
    }
    for call in fsync write link; do
        every_call "$call" "$PWD/store" one
        echo "$call: $CALLS" >&2
        ((CALLS >= 3)) || fail "only $CALLS calls of $call"
    done
    # And the next run works.
    BACKSTAY_STORE=$PWD/store ends_well_or_not_at_all
}

# killed_everywhere WORK CALL...: `WORK NUMBER` again and again, which runs a command `under FAULT_KILL="$when"`: it is killed before and after its
# first such call, its second, and so on until none is left. At least two calls of each kind are demanded, but of mkdir.
killed_everywhere() {
    local work=$1 call
    shift
    for call in "$@"; do
        for when in before after; do
            every_call "$call" "$PWD/store" "$work"
            echo "$call, $when: $CALLS" >&2
            [[ $call == mkdir ]] || ((CALLS >= 2)) || fail "only $CALLS calls of $call"
        done
    done
}

# killed_or_done STATUS: how a run ended in which a call was to be the last one, if it came so far.
killed_or_done() {
    local wanted=0
    [[ ! -e mark ]] || wanted=137
    [[ $1 -eq $wanted ]] || fail "exit status $1 instead of $wanted: $(< err)"
}

it_leaves_a_stream_of_one_object_whole_or_not_there_wherever_it_is_killed() {
    local when single=(--format openssl --single --passphrase-file password.txt)
    echo correct-horse > password.txt
    export BACKSTAY_STORE=$PWD/store
    noise 300000 small > before
    noise 3000000 faults > content
    # shellcheck disable=SC2329 # called by killed_everywhere
    one() {
        local status=0 file id
        rm -rf store
        [[ $call == mkdir ]] || cp -a pristine store
        under FAULT_KILL="$when" -- "$BACKSTAY" -q backup "${single[@]}" --name files < content > receipt 2> err || status=$?
        killed_or_done "$status"
        if [[ $call == mkdir ]]; then
            [[ $status -eq 0 ]] || [[ -z $(find . -path './store/*' -type f) ]] || fail "something is stored"
            return
        fi
        # What was there is as it was, and beside it is nothing but the stream, whole, and its manifest.
        for file in pristine/*; do same "$file" "store/${file##*/}"; done
        for file in store/*-*-*-*-*-*; do
            id=$(basename "$file" .json)
            [[ ! -e pristine/$id ]] || continue
            openssl enc -aes256 -md md5 -d -pass file:password.txt -in "store/$id" 2> log | gzip -dc | cmp - content || fail "$id is no whole stream"
            [[ ! -e store/$id.json ]] || exits 0 backstay -q verify "$id" --depth deep --passphrase-file password.txt
        done
        # And the next one works, beside whatever is in the staging folder.
        exits 0 backstay -q backup "${single[@]}" --name next < before
        exits 0 backstay -q cat next --passphrase-file password.txt
        same before out
    }
    exits 0 backstay -q backup "${single[@]}" --name files < before
    mv store pristine
    killed_everywhere one mkdir open write fsync link unlink
}

it_clears_away_no_more_and_at_last_no_less_wherever_gc_is_killed() {
    local when form ids=() stays ago=$((3 * 24 * 3600))
    keyed
    echo correct-horse > password.txt
    export BACKSTAY_STORE=$PWD/store
    noise 2500000 faults > content
    # past [VARIABLE=VALUE...] -- ARGUMENT...: a backup of three days ago.
    past() {
        local variables=()
        while [[ $1 != -- ]]; do
            variables+=("$1")
            shift
        done
        under CLOCK_SHIFT=-$ago "${variables[@]}" -- "$BACKSTAY" -q backup --part-size 1MiB "${@:2}" < content 2> err
    }
    # An archive; an upload without its manifest and a part, with a keybox; and two of the openssl format without their manifests, which stay.
    for form in '' '--detached-keys' '--format openssl --passphrase-file password.txt' '--format openssl --passphrase-file password.txt --single'; do
        # shellcheck disable=SC2086 # several words
        past -- --name "files${#ids[@]}" $form > receipt || fail "$(< err)"
        read -r id _ < receipt
        ids+=("$id")
    done
    for id in "${ids[@]:1}"; do rm "store/$id.json"; done
    rm "store/${ids[1]}-1"
    # What was killed when nothing had its name yet: a part, and a stream.
    for form in '' '--format openssl --passphrase-file password.txt --single'; do
        # shellcheck disable=SC2086
        ! past FAULT_CALL=link FAULT_UNDER="$PWD/store" FAULT_KILL=before -- --name killed $form || fail 'it was not killed'
    done
    [[ $(find store/.backstay-tmp -type f | wc -l) -ge 2 && -e store/${ids[1]}.key.0 ]] || fail "$(find store)"
    stays=$(find store -type f ! -name "${ids[1]}*" ! -path '*/.backstay-tmp/*' -printf '%f\n' | sort)
    age() { find store -type f -exec touch -d "@$((EPOCHSECONDS - ago))" {} +; }
    age
    mv store pristine
    # shellcheck disable=SC2329 # called by killed_everywhere
    one() {
        local status=0 file
        rm -rf store
        cp -a pristine store
        under FAULT_KILL="$when" -- "$BACKSTAY" -q gc --yes > out 2> err || status=$?
        killed_or_done "$status"
        for file in $stays; do same "pristine/$file" "store/$file"; done
        # The marker by which nothing can commit the upload any more stands before anything of it goes.
        [[ -e store/${ids[1]}.key.0 || -e store/${ids[1]}.json ]] || fail "$call $1, $when: the keybox went before the marker stood"
        # The next runs finish it: the upload and what was staged, then the marker that gave the upload up.
        for _ in 1 2; do
            age
            exits 0 backstay -q gc --yes
        done
        [[ $(find store -type f -printf '%f\n' | sort) == "$stays" ]] || fail "it leaves $(find store -type f)"
        exits 0 backstay -q verify "${ids[0]}" --depth full
    }
    killed_everywhere one open write fsync link unlink
}

it_releases_nothing_wrong_when_the_disk_cannot_be_read() {
    a_store
    # shellcheck disable=SC2329 # called by every_call
    one() {
        local status=0
        under -- "$BACKSTAY" -q cat latest > out 2> err || status=$?
        if [[ ! -e mark ]]; then
            [[ $status -eq 0 ]] || fail "status $status without a fault: $(< err)"
            same content out
            return
        fi
        [[ $status -eq 40 ]] || fail "exit status $status: $(< err)"
        says err 'Input/output error'
        cmp -n "$(stat -c %s out)" content out || fail "wrong bytes were released"
    }
    every_call read "$PWD/store/" one
    ((CALLS >= 4)) || fail "only $CALLS reads"
}

it_never_finds_an_archive_good_that_the_disk_does_not_give() {
    local depth part
    a_store
    for depth in full deep; do
        part=$PWD/store/$(id_in store)-1
        refuses store.failed under FAULT_CALL=read FAULT_UNDER="$part" FAULT_ON=1 -- "$BACKSTAY" verify latest --depth "$depth"
        says out 'Input/output error'
        says out "$(basename "$part")"
    done
}

it_salvages_what_is_around_a_part_that_the_disk_does_not_give() {
    local status=0
    a_store
    under FAULT_CALL=read FAULT_UNDER="$PWD/store/$(id_in store)-1" FAULT_ON=1 -- \
        "$BACKSTAY" salvage latest -o rescued > report 2> err || status=$?
    ((status != 0)) || fail "salvage ended with 0"
    [[ $(stat -c %s rescued) -eq 10000000 ]] || fail "$(stat -c %s rescued) bytes: $(cat err report)"
    # Frames have 2 MiB of content; those that are not all there are lost.
    cmp -n 2097152 content rescued
    cmp -i 8388608 content rescued
    ! cmp -s content rescued || fail "nothing was lost"
}

it_refuses_an_input_that_cannot_be_read_to_its_end() {
    keyed
    mkdir store
    noise 9000000 faults > input
    refuses source.failed under FAULT_CALL=read FAULT_UNDER="$PWD/input" FAULT_AT=5 -- "$BACKSTAY" backup -s store < input
    says err 'Input/output error'
    nothing_committed store
}

it_leaves_no_file_when_the_restored_one_cannot_be_written_or_flushed() {
    local call
    a_store
    for call in write fsync; do
        refuses target.failed under FAULT_CALL=$call FAULT_UNDER="$PWD/restored" -- "$BACKSTAY" restore latest -o restored
        says err 'Input/output error'
        [[ -z $(find . -maxdepth 1 -name 'restored*') ]] || fail "something is left: $(ls)"
    done
}

it_reads_from_a_read_only_directory_and_does_not_write_to_one() {
    ((EUID == 0)) || fail "mounting takes root"
    a_store
    mount --bind store store
    trap 'umount "$PWD/store"; end_servers' EXIT
    mount -o remount,bind,ro store
    refuses store.denied backstay backup < content
    says err 'Read-only file system'
    for depth in quick full deep; do exits 0 backstay -q verify latest --depth "$depth"; done
    restores
    exits 0 backstay gc
    refuses target.failed backstay restore latest -o store/restored
    says err 'Read-only file system'
    # As another user, to whom the directory is closed for writing.
    mkdir -m 755 closed
    chmod 644 key.txt
    refuses store.denied setpriv --reuid 65534 --clear-groups "$BACKSTAY" backup -s "$PWD/closed" < content
    says err 'Permission denied'
    [[ -z $(ls -A closed) ]] || fail "something was stored"
}

# says_descriptors STATUS: how a run ended that could not open enough files.
says_descriptors() {
    [[ $1 -eq 1 ]] || fail "$most descriptors: exit status $1, $(< err)"
    says err 'error[io.failed]: '
    says err 'Too many open files'
    # shellcheck disable=SC2016 # as it stands
    says err 'hint: raise the limit of open files: `ulimit -n 1024`'
}

it_needs_few_descriptors_and_says_so_when_there_are_too_few() {
    local most status
    a_store
    for most in 5 6 8 9 10 11 12 14 16 18 20 24 32; do
        rm -rf limited
        status=0
        (ulimit -n "$most" && exec "$BACKSTAY" -q backup -s limited --part-size 1MiB --name files) < content > out 2> err || status=$?
        if ((status == 0 && most > 12)); then
            BACKSTAY_STORE=$PWD/limited restores
        else
            says_descriptors "$status"
            ((most < 24)) || fail "not even $most descriptors are enough: $(< err)"
            [[ ! -d limited ]] || nothing_committed limited
        fi
        status=0
        (ulimit -n "$most" && exec "$BACKSTAY" -q cat latest) > out 2> err || status=$?
        if ((status == 0 && most > 12)); then
            same content out
        else
            says_descriptors "$status"
            ((most < 24)) || fail "not even $most descriptors are enough: $(< err)"
            [[ ! -s out ]] || fail "$most descriptors: something was released"
        fi
    done
}

it_stops_without_a_word_when_its_reader_has_seen_enough() {
    local codes
    a_store
    set +o pipefail
    "$BACKSTAY" -q cat latest 2> err | head -c 10 > out
    codes=("${PIPESTATUS[@]}")
    set -o pipefail
    [[ ${codes[0]} -eq 1 ]] || fail "exit status ${codes[0]}"
    [[ ! -s err ]] || fail "it complains: $(< err)"
    same out <(head -c 10 content)
    # Who asks for the beginning alone gets it with status 0.
    exits 0 backstay -q cat latest --range 0..10
    same out <(head -c 10 content)
}

it_does_not_write_an_archive_to_an_output_that_was_closed() {
    local verb
    a_store
    for verb in 'cat latest' 'key export latest'; do
        # shellcheck disable=SC2086,SC2016 # several words, for another shell
        refuses target.failed sh -c 'exec "$0" -q "$@" >&-' "$BACKSTAY" $verb
        says err 'Bad file descriptor'
        # shellcheck disable=SC2086
        "$BACKSTAY" -q $verb > /dev/null
    done
    # Whoever discards the output of a program in Python gives it the same /dev/null, so that what is only told may go there.
    for verb in 'verify latest' list; do
        # shellcheck disable=SC2086
        "$PYTHON" -c 'import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode)' "$BACKSTAY" -q $verb
    done
}

it_says_that_the_archive_is_committed_when_its_receipt_cannot_be_printed() {
    a_store
    rm -rf store
    refuses target.failed sh -c "exec '$BACKSTAY' -q backup --name files < content > /dev/full"
    cp err told
    ends_well_or_not_at_all
    [[ $(find store -name '*.json' | wc -l) -eq 1 ]] || fail "there is no archive"
    says told "$(id_in store) is committed"
    # shellcheck disable=SC2016
    exits 0 backstay -q verify latest --receipt "$(sed -n 's/.*its receipt is `\(.*\)`.*/\1/p' told)"
}

it_waits_for_an_input_that_stands_still_for_ten_minutes_and_gives_up_after_a_day() {
    keyed
    mkdir store
    # A minute of the program's time is a hundredth of a second of ours.
    (echo one && sleep 1 && echo two) | under CLOCK_RATE=600 -- "$BACKSTAY" -q backup -s store --name slow > out
    exits 0 backstay -q cat -s store latest
    same out <(printf 'one\ntwo\n')
    rm -rf store
    mkdir store
    mkfifo input
    sleep 60 > input &
    PIDS+=($!)
    refuses source.stalled under CLOCK_RATE=200000 -- "$BACKSTAY" -q backup -s store --name slow < input
    says err 'the source gave nothing for 24 hours'
    nothing_committed store
}

it_gives_up_on_a_producer_that_hangs_before_or_after_it_closed_its_output() {
    keyed
    mkdir store
    refuses source.stalled under CLOCK_RATE=200000 -- "$BACKSTAY" -q backup -s store -- sh -c 'echo content; exec >&-; exec sleep 60'
    says err 'the source closed its output and did not end for 24 hours'
    nothing_committed store
    # One that hangs with its output open is another matter.
    refuses source.stalled under CLOCK_RATE=200000 -- "$BACKSTAY" -q backup -s store -- sh -c 'echo content; exec sleep 60'
    says err 'the source gave nothing for 24 hours'
    nothing_committed store
}

it_is_not_filled_by_a_producer_that_complains_without_end() {
    keyed
    mkdir store
    command time -q -f %M -o peak "$BACKSTAY" -q backup -s store --name loud -- \
        sh -c 'head -c 100000000 /dev/zero | tr "\0" e | fold -w 200 >&2; echo content' > out 2> err
    (($(< peak) < 120000)) || fail "$(< peak) KiB"
    exits 0 backstay -q cat -s store latest
    says out content
    refuses source.failed "$BACKSTAY" -q backup -s store --name loud -- sh -c 'head -c 9000000 /dev/urandom; yes complaint | head -n 100000 >&2; kill -9 $$'
    [[ $(find store -name '*.json' | wc -l) -eq 1 ]] || fail "it was committed"
}

it_names_the_host_that_does_not_resolve() {
    keyed
    export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b
    refuses store.failed under CLOCK_RATE=20 -- "$BACKSTAY" -q backup -s s3://bucket/x --endpoint-url http://store.invalid < <(echo content)
    says err 'store.invalid'
    says err 'attempts'
    refuses store.failed under CLOCK_RATE=20 -- "$BACKSTAY" list -s s3://bucket/x --endpoint-url http://store.invalid
}

# certificate NAME DAYS: a certificate of its own in NAME.pem.
certificate() {
    printf '[req]\ndistinguished_name=name\n[name]\n' > req.cnf
    openssl req -config req.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$2" -subj "/CN=$1" \
        -addext "subjectAltName=DNS:$1" -addext 'basicConstraints=critical,CA:FALSE' -keyout "$1.key" -out "$1.pem" 2> log || fail "$(< log)"
}

# tls_before_the_server NAME: a server with the certificate of NAME, which passes everything on.
tls_before_the_server() {
    rm -f tls-port
    "$PYTHON" "$E2E/tls-front.py" "$1.pem" "$1.key" "$(< port)" tls-port &
    PIDS+=($!)
    wait_until 10 test -e tls-port
    AWS_ENDPOINT_URL=https://localhost:$(< tls-port)
}

it_trusts_only_certificates_that_are_good_for_the_host() {
    local began
    keyed
    s3_server
    certificate localhost 30
    certificate elsewhere 30
    tls_before_the_server localhost
    # Nobody vouches for it, and nothing is sent to it, nor again and again.
    began=$SECONDS
    refuses store.failed backstay backup -- echo content
    says err 'certificate'
    ((SECONDS - began < 10)) || fail "it took $((SECONDS - began)) s"
    no_manifest_on_the_server
    # The right authority makes it good; without this, the refusals would prove nothing.
    export AWS_CA_BUNDLE=$PWD/localhost.pem
    exits 0 backstay -q backup -- echo content
    exits 0 backstay -q cat latest
    says out content
    # Ten years later it has expired, and ten years ago it was not valid yet.
    refuses store.failed under CLOCK_SHIFT=$YEARS -- "$BACKSTAY" list
    says err 'certificate'
    refuses store.failed under CLOCK_SHIFT=-$YEARS -- "$BACKSTAY" list
    says err 'certificate'
    # The name is another one's, although the authority is trusted.
    tls_before_the_server elsewhere
    AWS_CA_BUNDLE=$PWD/elsewhere.pem refuses store.failed backstay list
    says err 'certificate'
    # No TLS at all.
    AWS_ENDPOINT_URL=https://localhost:$(< port) refuses store.failed backstay list
}

it_keeps_order_whatever_the_clock_says() {
    local shift first
    a_store
    first=$(id_in store)
    for shift in $YEARS -$YEARS; do
        echo "with the clock $shift s away" > content
        exits 0 under CLOCK_SHIFT="$shift" -- "$BACKSTAY" -q backup --name files < content
        restores
        for depth in quick full deep; do exits 0 under CLOCK_SHIFT="$shift" -- "$BACKSTAY" -q verify latest --depth "$depth"; done
        exits 0 under CLOCK_SHIFT="$shift" -- "$BACKSTAY" -q cat latest
        same content out
        exits 0 under CLOCK_SHIFT="$shift" -- "$BACKSTAY" list
        [[ $(grep -c committed out) -eq $(find store -name '*.json' | wc -l) ]] || fail "list says: $(< out)"
    done
    # With the right time again, after one that was far ahead: the latest is the latest.
    echo 'with the right time' > content
    exits 0 backstay backup --name files < content
    says err 'it was made with a clock that was ahead'
    restores
    exits 0 backstay -q verify "$first"
}

it_says_that_the_clock_is_wrong_when_no_archive_can_be_dated_by_it() {
    local now shift
    a_store
    now=$(date +%s)
    find store -type f | sort > before
    # 1970, 1999 and 2400.
    for shift in $((86400 - now)) $((928000000 - now)) $((13570000000 - now)); do
        refuses usage.clock under CLOCK_SHIFT="$shift" -- "$BACKSTAY" backup --name files < content
        says err 'the clock of this machine says'
        says err 'Set the clock'
    done
    find store -type f | sort > after
    same before after
}

it_deletes_nothing_because_of_a_clock_that_is_wrong() {
    local shift
    a_store
    rm "store/$(id_in store).json" store/*-1
    find store -type f | sort > before
    for shift in $YEARS -$YEARS; do
        exits 0 under CLOCK_SHIFT="$shift" -- "$BACKSTAY" gc --yes
        find store -type f | sort > after
        same before after
    done
}

it_names_the_clock_when_a_store_refuses_it() {
    local shift
    keyed
    s3_server
    exits 0 backstay -q backup --name files -- echo content
    for shift in $YEARS -$YEARS; do
        refuses store.denied under CLOCK_SHIFT="$shift" -- "$BACKSTAY" backup --name files < <(echo content)
        says err 'RequestTimeTooSkewed'
        says err 'the clock of this machine is 365'
        refuses store.denied under CLOCK_SHIFT="$shift" -- "$BACKSTAY" cat latest
        refuses store.denied under CLOCK_SHIFT="$shift" -- "$BACKSTAY" list
        refuses store.denied under CLOCK_SHIFT="$shift" -- "$BACKSTAY" gc --yes
    done
    exits 0 backstay -q cat latest
    says out content
}

it_rides_out_broken_connections() {
    keyed
    noise 20000000 faults > content
    behind_proxy PUT/1=cut-request:100000 PUT/3=drop-answer PUT/5=answer-after:500 PUT/6=cut-request:0 PUT/9=answer:503 \
        PUT/10=answer:429 PUT/11=answer:500 GET/2=cut-answer:100000 GET/4=cut-answer:0 GET/6=answer:503 HEAD/1=drop-answer
    exits 0 backstay -q backup --part-size 4MiB --name files < content
    exits 0 backstay -q verify latest --depth deep
    restores
    (($(wc -l < fates) >= 10)) || fail "few requests met a fate: $(< fates)"
}

it_waits_for_as_long_as_the_store_asks() {
    local began
    keyed
    behind_proxy PUT/1=answer:503:3 GET/1=answer:429:2
    began=${EPOCHREALTIME/./}
    exits 0 backstay -q backup --name files -- echo content
    ((${EPOCHREALTIME/./} - began >= 5000000)) || fail "it did not wait"
    exits 0 backstay -q cat latest
    says out content
}

it_gives_up_on_a_store_that_never_gets_better_and_releases_no_wrong_byte() {
    keyed
    noise 9000000 faults > content
    s3_server
    exits 0 backstay -q backup --part-size 4MiB --name files < content
    # Five minutes of patience in a few seconds.
    behind_proxy 'GET/*=cut-answer:300000'
    refuses store.failed under CLOCK_RATE=60 -- "$BACKSTAY" -q cat latest
    says err 'attempts'
    cmp -n "$(stat -c %s out)" content out || fail "wrong bytes were released"
    behind_proxy 'PUT/*=answer:500'
    rm -r objects/backups/pg
    refuses store.failed under CLOCK_RATE=60 -- "$BACKSTAY" -q backup --part-size 4MiB --name files < content
    says err 'status 500'
    behind_proxy 'PUT/*=cut-request:1000'
    refuses store.failed under CLOCK_RATE=60 -- "$BACKSTAY" -q backup --part-size 4MiB --name files < content
    no_manifest_on_the_server
}

it_does_not_take_a_web_page_for_a_store() {
    local verb id=de2fe9e4-6535-423d-8709-dca87df7985c-1740130000000
    keyed
    s3_server
    exits 0 backstay -q backup --name files -- echo content
    "$PYTHON" "$E2E/web-page.py" page-port &
    PIDS+=($!)
    wait_until 10 test -e page-port
    reach "$(< page-port)"
    # Everything is taken with a friendly 200, and nothing is kept.
    refuses store.failed backstay -q backup --name files -- echo content
    for verb in list 'cat latest' "cat $id" "show $id" "verify $id --depth quick" "verify $id" 'gc --yes' \
        "copy --all --to $PWD/copy" "reassemble $id" "salvage $id -o salvaged"; do
        # shellcheck disable=SC2086 # several words
        refuses store.failed backstay -q $verb
        says err 'something else than a store answers at this address'
    done
    [[ ! -e copy && ! -e salvaged ]] || fail "something was written: $(ls)"
}

it_survives_being_stopped_for_longer_than_every_timeout() {
    keyed
    s3_server
    noise 60000000 faults > content
    # Stopped for seven minutes of the program's time: whatever it waited for has timed out, and so has its patience.
    exec 3< <(head -c 30000000 content && wait_until 20 test -e go && tail -c +30000001 content)
    LD_PRELOAD=$SHIM CLOCK_RATE=60 "$BACKSTAY" -q backup --part-size 4MiB --name files <&3 > receipt 2> err &
    PIDS+=($!)
    exec 3<&-
    wait_until 20 sh -c 'ls objects/backups/pg/*-3 > /dev/null 2>&1'
    touch go
    sleep 0.02
    kill -STOP "${PIDS[-1]}"
    sleep 7
    kill -CONT "${PIDS[-1]}"
    wait "${PIDS[-1]}" || fail "exit status $?: $(< err)"
    exits 0 backstay -q verify latest --depth deep
    restores
}

it_waits_for_a_server_that_stands_still_and_gives_up_when_it_does_not_come_back() {
    local status
    keyed
    s3_server
    noise 20000000 faults > content
    # Stopped for three minutes of the program's time, longer than a request may stand still. By then it has answered once.
    LD_PRELOAD=$SHIM CLOCK_RATE=60 "$BACKSTAY" -q backup --part-size 4MiB --name files -- sh -c '> begun; sleep 0.5; exec cat content' > receipt 2> err &
    PIDS+=($!)
    wait_until 10 test -e begun
    kill -STOP "${PIDS[0]}"
    sleep 3
    kill -CONT "${PIDS[0]}"
    wait "${PIDS[1]}" || fail "exit status $?: $(< err)"
    restores
    kill -STOP "${PIDS[0]}"
    status=0
    timeout 60 env LD_PRELOAD="$SHIM" CLOCK_RATE=60 "$BACKSTAY" -q cat latest > out 2> err || status=$?
    kill -CONT "${PIDS[0]}"
    [[ $status -eq 40 ]] || fail "exit status $status: $(< err)"
    says err 'nothing moved for 60.0 s'
    [[ ! -s out ]] || fail "something was released"
}

it_goes_on_when_the_server_is_killed_and_comes_back() {
    keyed
    s3_server
    noise 40000000 faults > content
    "$BACKSTAY" -q backup --part-size 4MiB --name files < <(head -c 20000000 content; wait_until 20 test -e go; tail -c +20000001 content) > receipt 2> err &
    PIDS+=($!)
    wait_until 20 sh -c 'ls objects/backups/pg/*-2 > /dev/null 2>&1'
    kill -9 "${PIDS[0]}"
    touch go
    sleep 1
    "$SERVERS/s3-server" objects port &
    PIDS[0]=$!
    wait "${PIDS[1]}" || fail "exit status $?: $(< err)"
    exits 0 backstay -q verify latest --depth deep
    restores
}

run_cases "$@"
