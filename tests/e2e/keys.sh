#!/usr/bin/env bash
# Keys over their life, on a server that keeps versions: what stays when they are destroyed, and what stock tools open when others are let in.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

MOTO=${MOTO:-$REPOSITORY/target/venv/bin/moto_server}
BOTO=$(dirname "$MOTO")/python
[[ -x $MOTO ]] || {
    echo "$0: $MOTO is not there: scripts/setup" >&2
    exit 2
}

free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

answers() { "$PYTHON" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "$1" 2> /dev/null; }

# moto: a server in memory; points the environment at it.
moto() {
    AWS_ENDPOINT_URL=http://127.0.0.1:$(free_port)
    export AWS_ENDPOINT_URL AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATEST AWS_SECRET_ACCESS_KEY=secret
    export BACKSTAY_STORE=s3://bucket/pg
    "$MOTO" -H 127.0.0.1 -p "${AWS_ENDPOINT_URL##*:}" > moto.log 2>&1 &
    PIDS+=($!)
    wait_until 60 answers "$AWS_ENDPOINT_URL/moto-api/"
}

# boto: runs Python from standard input, with a client `s3`.
boto() {
    { cat "$E2E/boto.py" -; } > boto-run.py
    "$BOTO" boto-run.py
}

it_says_that_destroyed_keys_are_still_there_as_old_versions_until_they_are_not() {
    local id
    moto
    boto <<< 's3.create_bucket(Bucket="bucket"); s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})'
    new_key
    echo content > content
    exits 0 backstay backup -r "$RECIPIENT" --name shop --detached-keys < content
    exits 0 backstay list --json
    id=$(jq -r '.archives[0].id' out)
    exits 0 backstay key destroy "$id"
    says err 'keeps old versions'
    exits 3 backstay key destroy "$id" --yes --json
    jq -e '.deleted and (.stays_behind | test("versions"))' out > /dev/null || fail "$(cat out)"
    refuses key.not-found backstay cat "$id" -i key.txt
    # Whoever may delete the mark of the deletion has the key back.
    boto << 'PYTHON'
# The other one is of what said that the deletion began.
marks = [mark for mark in s3.list_object_versions(Bucket="bucket")["DeleteMarkers"] if ".expired." not in mark["Key"]]
assert len(marks) == 1 and marks[0]["Key"].endswith(".key.0"), marks
s3.delete_object(Bucket="bucket", Key=marks[0]["Key"], VersionId=marks[0]["VersionId"])
PYTHON
    exits 0 backstay cat "$id" -i key.txt
    same content out
    exits 3 backstay key destroy "$id" --yes
    boto << 'PYTHON'
listed = s3.list_object_versions(Bucket="bucket")
for version in listed["Versions"] + listed["DeleteMarkers"]:
    if version["Key"].endswith(".key.0"):
        s3.delete_object(Bucket="bucket", Key=version["Key"], VersionId=version["VersionId"])
assert not [version for version in s3.list_object_versions(Bucket="bucket")["Versions"] if ".key." in version["Key"]]
PYTHON
    refuses key.not-found backstay cat "$id" -i key.txt
}

it_does_not_call_locked_keys_destroyed() {
    local id
    moto
    boto <<< 's3.create_bucket(Bucket="bucket", ObjectLockEnabledForBucket=True)'
    new_key
    echo content > content
    exits 0 backstay backup -r "$RECIPIENT" --name shop --detached-keys --lock-mode compliance --lock-for 2d < content
    exits 0 backstay list --json
    id=$(jq -r '.archives[0].id' out)
    # A deletion without a version puts a mark over a locked object: the lock holds the version.
    exits 3 backstay key destroy "$id" --yes
    boto << 'PYTHON'
version = [version for version in s3.list_object_versions(Bucket="bucket")["Versions"] if ".key." in version["Key"]][0]
try:
    s3.delete_object(Bucket="bucket", Key=version["Key"], VersionId=version["VersionId"])
except botocore.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "AccessDenied", error
else:
    raise AssertionError("a locked version was deleted")
PYTHON
}

it_lets_a_new_key_into_every_archive_and_stock_age_opens_its_slots() {
    local id day new
    new_key
    for day in 1 2 3; do
        exits 0 backstay backup -s store -r "$RECIPIENT" --name shop <<< "day $day"
    done
    exits 0 backstay key generate new.txt
    new=$(< out)
    exits 3 backstay key audit -s store -i new.txt
    exits 0 backstay key rewrap -s store --all -i key.txt -r "$new" --unless-opened-by new.txt
    exits 0 backstay key audit -s store -i new.txt
    for id in store/*.json; do
        id=${id%.json}
        age -d -i new.txt "$id.key.0" > secret.bin
        "$PYTHON" "$REPOSITORY/spec/reference/read.py" store "$(basename "$id")" --raw-key secret.bin > content
        grep -q '^day [123]$' content || fail "it says: $(cat content)"
    done
    # The old key is shut out by writing anew, and in no other way.
    exits 0 backstay copy -s store --all --to fresh --reencrypt -i key.txt -r "$new"
    refuses key.not-found backstay cat -s fresh latest -i key.txt
    exits 0 backstay cat -s fresh latest -i new.txt
    says out 'day 3'
}

run_cases "$@"
