#!/usr/bin/env bash
# The same on Azure and on Google Cloud Storage: azurite, which scripts/setup installs, and a server of our own that speaks what object_store sends.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

CLOUD_SERVER=$(dirname "$BACKSTAY")/cloud-server
[[ -x $CLOUD_SERVER ]] || {
    echo "$0: $CLOUD_SERVER is not there: cargo build --profile ci --workspace" >&2
    exit 2
}

# cloud azure|gcs: starts a server with the container or bucket "backups", and points the environment at it.
cloud() {
    mkdir server
    "$CLOUD_SERVER" "$1" "$PWD/server" backups &
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

it_goes_the_whole_way_on_azure() {
    cloud azure
    the_whole_way
}

it_goes_the_whole_way_on_gcs() {
    cloud gcs
    the_whole_way
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
