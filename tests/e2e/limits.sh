#!/usr/bin/env bash
# What the machine has little of: memory and disk.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

MIB=$((1 << 20))

# peak LIMIT COMMAND...: runs it and demands that its peak of resident memory (VmHWM), which is left in KiB in ./peak, was at most LIMIT MiB.
peak() {
    local limit=$1
    shift
    command time -q -f %M -o peak "$@"
    was_at_most "$limit" "$*"
}

# was_at_most LIMIT WHAT: demands it of the last command that was measured.
was_at_most() {
    local peak
    peak=$(($(< peak) / 1024))
    echo "peak memory: $peak MiB of at most $1" >&2
    ((peak <= $1)) || fail "$peak MiB of memory instead of at most $1: $2"
}

# stream GIB [NOISE]: zeros, and in every 2 GiB NOISE MiB, 256 unless told otherwise, of bytes that no codec makes smaller.
stream() {
    local n noise=${2:-256}
    for ((n = 0; n < $1; n += 2)); do
        head -c $(((2048 - noise) * MIB)) /dev/zero
        noise $((noise * MIB)) "stream $n"
    done
}

# streamed LIMIT GIB NOISE WRITING READING ARGUMENTS...: backs so much up and restores it again, both within LIMIT MiB. WRITING and READING are
# the options with which keys are given.
streamed() {
    local limit=$1 gib=$2 noise=$3 writing=$4 reading=$5
    shift 5
    # shellcheck disable=SC2086 # several words
    stream "$gib" "$noise" | peak "$limit" "$BACKSTAY" -q "$@" backup -s store $writing --name stream
    [[ $(find store -name '*-*-*-*-*-*-*' ! -name '*.json' | wc -l) -gt 10 ]] || fail "there are not many parts"
    # shellcheck disable=SC2086
    peak "$limit" "$BACKSTAY" -q "$@" cat -s store latest $reading | cmp - <(stream "$gib" "$noise")
}

native() {
    new_key
    streamed "$1" "$2" 256 "-r $RECIPIENT" "-i key.txt" "${@:3}"
}

# Much noise: parts of this format once took twice their size when they were many.
openssl_format() {
    echo password > password
    streamed "$1" "$2" 768 "--format openssl --passphrase-file password" "--passphrase-file password" "${@:3}"
}

# At most --memory and 32 MiB.
it_streams_8_GiB_within_the_default_memory() { native 160 8; }
it_streams_2_GiB_within_48_MiB() { native 80 2 --memory 48MiB; }
it_streams_2_GiB_in_the_openssl_format_within_the_default_memory() { openssl_format 160 2; }
it_streams_2_GiB_in_the_openssl_format_within_48_MiB() { openssl_format 80 2 --memory 48MiB; }

# A context of such a level takes more than all the rest.
it_counts_what_a_high_level_takes() {
    new_key
    head -c 48M < <(cat "$BACKSTAY" "$BACKSTAY" "$BACKSTAY" "$BACKSTAY" "$BACKSTAY" "$BACKSTAY" "$BACKSTAY" "$BACKSTAY") > content
    [[ $(stat -c %s content) -eq $((48 * MIB)) ]] || fail "the content has $(stat -c %s content) bytes"
    peak 96 "$BACKSTAY" -q --memory 64MiB backup -s store -r "$RECIPIENT" --name dump --level 19 < content
    refuses usage.memory backstay --memory 48MiB backup -s store -r "$RECIPIENT" --name dump --level 19 < content
    says err 'raise --memory to at least 56MiB'
}

# A second store sends from the same memory; a part on its way to the spool is in --memory.
it_streams_2_GiB_to_two_stores_within_48_MiB() {
    new_key
    streamed 80 2 256 "-r $RECIPIENT --also second" "-i key.txt" --memory 48MiB
    diff -r store second
}
it_streams_2_GiB_through_a_spool_within_48_MiB() {
    new_key
    streamed 80 2 256 "-r $RECIPIENT --spool spool" "-i key.txt" --memory 48MiB
    [[ -z $(find spool -type f ! -name '.*') ]] || fail "something stays in the spool"
}

# With one core and one upload, so that what is held at the same time does not depend on how threads happen to meet.
it_takes_no_more_memory_for_a_longer_stream() {
    local first longer options
    new_key
    echo password > password
    for options in "-r $RECIPIENT" "--format openssl --passphrase-file password"; do
        rm -rf store
        # shellcheck disable=SC2086
        stream 2 | peak 80 "$BACKSTAY" -q --memory 48MiB --cores 1 backup --level 1 --uploads 1 -s store $options --name stream
        first=$(< peak)
        # shellcheck disable=SC2086
        stream 4 | peak 80 "$BACKSTAY" -q --memory 48MiB --cores 1 backup --level 1 --uploads 1 -s store $options --name stream
        longer=$(< peak)
        ((longer <= first + 2048)) || fail "$longer KiB for 4 GiB, $first KiB for 2 GiB"
    done
}

# asks_for_much KIND LIMIT CODE ARGUMENTS...: an archive of this kind is refused with a code, or, for a dash, read, within so much memory and a minute.
# A panic, a kill for want of memory and the minute that is over have other statuses than either.
asks_for_much() {
    local kind=$1 limit=$2 code=$3 measured
    shift 3
    rm -rf store
    ID=$("$PYTHON" "$E2E/hostile.py" "$kind" store)
    measured=(command time -q -f %M -o peak timeout 60 "$BACKSTAY" -q "$@" -s store "$ID")
    if [[ $code == - ]]; then
        "${measured[@]}" > /dev/null 2> err || fail "$kind: exit status $?: $(< err)"
        [[ ! -s err ]] || fail "$kind: $(< err)"
    else
        refuses "$code" "${measured[@]}"
    fi
    was_at_most "$limit" "$kind"
}

it_refuses_the_largest_manifests_in_little_more_than_their_size() {
    local kind
    for kind in members nested parts needs; do
        asks_for_much "$kind" 400 manifest.invalid verify --depth quick
    done
    asks_for_much crit 200 format.unsupported verify --depth quick
    asks_for_much deep 100 manifest.invalid verify --depth quick
}

it_decodes_frames_of_the_largest_size_two_at_a_time_however_many_cores_there_are() {
    asks_for_much bomb 450 - --cores 16 cat --no-manifest -i hostile.key
    asks_for_much bomb 450 archive.uncommitted --cores 16 salvage -i hostile.key
}

# Of 3.75 GiB of zeros in members of gzip as large as they may be, or in one where its size has no limit, no more is held than is written at once, by
# whatever reads them. They are 4 MB.
it_decompresses_what_is_a_thousand_times_as_long_in_little_memory() {
    local openssl=(--format openssl --passphrase-file hostile.phrase)
    asks_for_much gzip-bomb 250 - cat --no-manifest -i hostile.key
    asks_for_much gzip-bomb 250 archive.uncommitted salvage -i hostile.key
    asks_for_much openssl-bomb 250 stream.limit cat "${openssl[@]}" --max-output 1GiB
    exits 0 command time -q -f %M -o peak timeout 60 "$BACKSTAY" -q verify -s store "$ID" "${openssl[@]}"
    was_at_most 250 'verify of an openssl-bomb'
    exits 3 command time -q -f %M -o peak timeout 60 "$BACKSTAY" -q salvage -s store "$ID" "${openssl[@]}"
    says out '3.8 GiB of content'
    was_at_most 250 'salvage of an openssl-bomb'
}

# What would take longer than anybody waits is refused before it is begun; of what is allowed two derivations are made, one after the other.
it_derives_no_key_for_longer_than_is_allowed() {
    asks_for_much kdf 100 key.kdf-limit cat --passphrase-file hostile.phrase
    asks_for_much kdf-pbkdf2 100 key.kdf-limit cat --format openssl --passphrase-file hostile.phrase
    asks_for_much kdf-boxes 1100 key.kdf-limit cat --passphrase-file hostile.phrase
}

it_refuses_the_largest_sets_in_little_more_than_their_size() {
    local verb
    for verb in 'verify -i hostile.key' show; do
        # shellcheck disable=SC2086 # several words
        {
            asks_for_much set-members 150 set.invalid $verb
            asks_for_much set-crit 150 format.unsupported $verb
            asks_for_much set-deep 100 set.invalid $verb
        }
    done
}

# What it reads is in proportion to what is stored, and so is the time: no manifest is believed that was not read to its end. The memory is that of one.
it_lists_many_of_the_largest_manifests_and_sets_in_the_memory_of_one() {
    "$PYTHON" "$E2E/hostile.py" entries store 6 > ids
    "$PYTHON" "$E2E/hostile.py" set-members store 3 > ids
    peak 400 timeout 120 "$BACKSTAY" -q list -s store --json > out
    [[ $(jq '.archives | length' out) -eq 6 && $(jq '.sets | length' out) -eq 3 ]] || fail "$(cut -c 1-2000 out)"
    # What only a manifest tells.
    [[ $(jq '[.archives[] | select(.content == 1)] | length' out) -eq 6 ]] || fail "they were not read: $(cut -c 1-2000 out)"
}

it_states_how_much_memory_it_needs() {
    new_key
    refuses usage.memory backstay --memory 1MiB backup -s store -r "$RECIPIENT" -- echo content
    says err 'MiB of memory are needed, 1 MiB are allowed'
    says err 'raise --memory to at least '
    # What it asks for suffices.
    backstay --memory "$(grep -o 'at least [0-9]*MiB' err | cut -d ' ' -f 3)" backup -s store -r "$RECIPIENT" -- echo content
}

# small SIZE: a file system of so many MiB in ./small, which is gone when the case ends.
small() {
    ((EUID == 0)) || fail "mounting a small file system takes root"
    mkdir -p small
    mount -t tmpfs -o "size=${1}m" tmpfs small
    trap 'umount "$PWD/small"; end_servers' EXIT
}

# says_that_the_disk_is_full PATH: what it is, where, and what to do.
says_that_the_disk_is_full() {
    says err 'No space left on device'
    says err "$1"
    says err 'make room'
    if grep -qiE 'dns|provider|proxy' err; then
        cat err >&2
        fail "a full disk is put down to a provider"
    fi
}

it_commits_nothing_on_a_full_disk_and_works_when_there_is_room_again() {
    local size
    ((EUID == 0)) || fail "mounting a small file system takes root"
    new_key
    mkdir store
    mount -t tmpfs -o size=40m tmpfs store
    trap 'umount "$PWD/store"; end_servers' EXIT
    for size in 60 41; do
        noise $((size * MIB)) full > content
        refuses store.failed backstay backup -s store -r "$RECIPIENT" --part-size 4MiB --name files < content
        says_that_the_disk_is_full ' store'
        nothing_committed store
        rm -rf store/* store/.backstay-tmp
    done
    # Not enough for anything: then enough.
    head -c $((39 * MIB)) /dev/zero > store/ballast
    noise $((20 * MIB)) full > content
    refuses store.failed backstay backup -s store -r "$RECIPIENT" --name files < content
    rm store/ballast
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files < content
    exits 0 backstay verify -s store latest -i key.txt
    exits 0 backstay cat -s store latest -i key.txt
    same content out
}

it_fails_when_there_is_no_room_for_the_restored_file() {
    new_key
    noise $((20 * MIB)) full > content
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files < content
    small 8
    refuses target.failed backstay restore -s store latest -i key.txt -o small/content
    says err 'No space left on device'
    [[ -z $(ls small) ]] || fail "something is left on the small disk: $(ls small)"
}

it_says_that_the_disk_of_a_spool_is_full_and_goes_on_when_it_is_not() {
    new_key
    small 8
    noise $((20 * MIB)) full > content
    # A store that takes nothing, so that everything waits.
    # shellcheck disable=SC2329
    backup() { backstay backup -s "$1" -r "$RECIPIENT" --name files --part-size 1MiB --spool small/spool --retry-for 0s < content; }
    export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_REGION=us-east-1 BACKSTAY_ENDPOINT_URL=http://127.0.0.1:9
    refuses io.failed backup s3://nowhere/pg
    unset BACKSTAY_ENDPOINT_URL
    says_that_the_disk_is_full "$PWD/small/spool"
    [[ -z $(find small/spool -type f ! -name .backstay-lock) ]] || fail "something stays in the spool: $(ls -A small/spool)"
    mount -o remount,size=40m small
    exits 0 backup store
    exits 0 backstay cat -s store latest -i key.txt
    same content out
}

it_says_that_the_disk_is_full_on_which_an_atomic_restore_keeps_parts() {
    new_key
    noise $((20 * MIB)) full > content
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files --part-size 4MiB < content
    small 8
    refuses io.failed backstay cat -s store latest -i key.txt --atomic --spool-dir small
    says_that_the_disk_is_full small/backstay-
    [[ ! -s out ]] || fail "content came out"
    [[ -z $(ls -A small) ]] || fail "something is left on the small disk: $(ls -A small)"
    mount -o remount,size=40m small
    exits 0 backstay cat -s store latest -i key.txt --atomic --spool-dir small
    same content out
}

it_says_that_the_disk_of_a_copy_is_full_and_goes_on_where_it_was() {
    new_key
    noise $((20 * MIB)) full > content
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files --part-size 4MiB < content
    small 12
    refuses store.failed backstay copy -s store latest --to small/copy
    says_that_the_disk_is_full small/copy
    nothing_committed small/copy
    mount -o remount,size=40m small
    exits 0 backstay copy -s store latest --to small/copy
    exits 0 backstay cat -s small/copy latest -i key.txt
    same content out
}

it_says_that_there_is_no_room_for_what_is_salvaged() {
    new_key
    noise $((20 * MIB)) full > content
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files --part-size 4MiB < content
    small 8
    refuses io.failed backstay salvage -s store latest -i key.txt -o small/content
    says err 'No space left on device'
    says err 'writing small/content failed'
    says err 'space'
    [[ -z $(ls -A small) ]] || fail "something is left on the small disk: $(ls -A small)"
}

run_cases "$@"
