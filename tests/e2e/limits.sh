#!/usr/bin/env bash
# What the machine has little of: memory and disk.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

MIB=$((1 << 20))

# peak LIMIT COMMAND...: runs it and demands that its peak of resident memory (VmHWM) was at most LIMIT MiB.
peak() {
    local limit=$1 peak
    shift
    command time -f %M -o peak "$@"
    peak=$(($(tail -n 1 peak) / 1024))
    echo "peak memory: $peak MiB of at most $limit" >&2
    ((peak <= limit)) || fail "$peak MiB of memory instead of at most $limit: $*"
}

# stream GIB: zeros, and between them, a quarter of a GiB for every 2 GiB, bytes that no codec makes smaller.
stream() {
    local n
    for ((n = 0; n < $1; n += 2)); do
        head -c $((1792 * MIB)) /dev/zero
        noise $((256 * MIB)) "stream $n"
    done
}

# streamed GIB LIMIT ARGUMENTS...: backs so much up and restores it again, both within the memory.
streamed() {
    local gib=$1 limit=$2
    shift 2
    new_key
    stream "$gib" | peak "$limit" "$BACKSTAY" -q "$@" backup -s store -r "$RECIPIENT" --name stream
    [[ $(find store -name '*-*-*-*-*-*-*' ! -name '*.json' | wc -l) -gt 10 ]] || fail "there are not many parts"
    peak "$limit" "$BACKSTAY" -q "$@" cat -s store latest -i key.txt | cmp - <(stream "$gib")
}

it_streams_8_GiB_within_the_default_memory() { streamed 8 160; }
it_streams_2_GiB_within_48_MiB() { streamed 2 80 --memory 48MiB; }

it_streams_2_GiB_in_the_openssl_format_within_the_default_memory() {
    echo password > password
    stream 2 | peak 160 "$BACKSTAY" -q backup -s store --format openssl --passphrase-file password --name stream
    peak 160 "$BACKSTAY" -q cat -s store latest --passphrase-file password | cmp - <(stream 2)
}

it_states_how_much_memory_it_needs() {
    new_key
    refuses usage.memory backstay --memory 1MiB backup -s store -r "$RECIPIENT" -- echo content
    says err 'MiB of memory are needed, 1 MiB are allowed'
    says err 'raise --memory to at least '
    # What it asks for suffices.
    backstay --memory "$(grep -o 'at least [0-9]*MiB' err | cut -d ' ' -f 3)" backup -s store -r "$RECIPIENT" -- echo content
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
        says err 'No space left on device'
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
    ((EUID == 0)) || fail "mounting a small file system takes root"
    new_key
    noise $((20 * MIB)) full > content
    exits 0 backstay backup -s store -r "$RECIPIENT" --name files < content
    mkdir small
    mount -t tmpfs -o size=8m tmpfs small
    trap 'umount "$PWD/small"; end_servers' EXIT
    refuses target.failed backstay restore -s store latest -i key.txt -o small/content
    says err 'No space left on device'
    [[ -z $(ls small) ]] || fail "something is left on the small disk: $(ls small)"
}

run_cases "$@"
