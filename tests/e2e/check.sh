#!/usr/bin/env bash
# What new objects are given, what a store is found to be, and who may do what: on moto, which keeps versions, tags, classes, locks and
# policies and checks neither signatures nor digests, and where those matter on the server that checks them.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

S3_SERVER=$(dirname "$BACKSTAY")/s3-server PROXY=$(dirname "$BACKSTAY")/proxy
MOTO=${MOTO:-$REPOSITORY/target/venv/bin/moto_server}
BOTO=$(dirname "$MOTO")/python
for program in "$S3_SERVER" "$PROXY" "$MOTO"; do
    [[ -x $program ]] || {
        echo "$0: $program is not there: scripts/setup, and cargo build --profile ci --workspace" >&2
        exit 2
    }
done

SHIM=$SCRATCH/faults.so
cc -shared -fPIC -O1 -Wall -Werror -o "$SHIM" "$E2E/faults.c" -ldl

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

# s3_server: the one that checks signatures and digests, with the bucket "bucket".
s3_server() {
    mkdir -p objects/bucket
    "$S3_SERVER" objects port "$@" &
    PIDS+=($!)
    wait_until 10 test -e port
    AWS_ENDPOINT_URL=http://127.0.0.1:$(< port)
    export AWS_ENDPOINT_URL AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=AKIATESTKIT AWS_SECRET_ACCESS_KEY=testkit-secret
    export BACKSTAY_STORE=s3://bucket/pg
}

# behind_proxy RULE...: the same server behind a proxy that does to requests what the rules say.
behind_proxy() {
    "$PROXY" "$(< port)" proxy-port fates "$@" &
    PIDS+=($!)
    wait_until 10 test -e proxy-port
    AWS_ENDPOINT_URL=http://127.0.0.1:$(< proxy-port)
}

# clocked SECONDS COMMAND...: runs it with the time of day so far ahead.
clocked() { env LD_PRELOAD="$SHIM" CLOCK_SHIFT="$1" "${@:2}"; }

# boto: runs Python from standard input, with a client `s3` and one `iam`, both as whoever owns the server.
boto() {
    { cat "$E2E/boto.py" -; } > boto-run.py
    AWS_ACCESS_KEY_ID=${OWNER_KEY:-AKIATEST} AWS_SECRET_ACCESS_KEY=${OWNER_SECRET:-secret} "$BOTO" boto-run.py
}

it_gives_new_objects_class_tags_encryption_and_lock() {
    moto
    new_key
    boto <<< 's3.create_bucket(Bucket="bucket", ObjectLockEnabledForBucket=True)'
    noise 9000000 given > content
    exits 0 backstay backup -r "$RECIPIENT" --name given --part-size 4MiB --storage-class STANDARD_IA --sse s3 \
        --object-tag team=db --object-tag 'purpose=nightly backup' --lock-mode governance --lock-for 2d < content
    boto << 'PYTHON'
names = [object["Key"] for object in s3.list_objects_v2(Bucket="bucket")["Contents"]]
assert len(names) == 4, names
for name in names:
    head = s3.head_object(Bucket="bucket", Key=name)
    assert head["StorageClass"] == "STANDARD_IA", head
    assert head["ServerSideEncryption"] == "AES256", head
    assert head["ObjectLockMode"] == "GOVERNANCE", head
    left = (head["ObjectLockRetainUntilDate"] - now()).total_seconds()
    assert 2 * 86400 - 600 < left <= 2 * 86400, left
    tags = s3.get_object_tagging(Bucket="bucket", Key=name)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "db", "purpose": "nightly backup"}, tags
    try:
        s3.delete_object(Bucket="bucket", Key=name, VersionId=head["VersionId"])
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
    else:
        raise AssertionError(f"{name} was deleted")
PYTHON
    exits 0 backstay cat given -i key.txt
    same content out
}

it_says_what_a_bucket_is_set_to_and_leaves_nothing_in_it() {
    moto
    boto <<< 's3.create_bucket(Bucket="bucket")'
    exits 3 backstay check
    # This server compares nothing.
    grep -qE '^checksum +warning ' out || fail "$(cat out)"
    grep -qE '^conditional-create +good ' out || fail "$(cat out)"
    grep -qE '^credentials +environment \(AWS_ACCESS_KEY_ID\)' out || fail "$(cat out)"
    grep -qE '^versioning +- +off' out || fail "$(cat out)"
    grep -qE '^object-lock +- +off' out || fail "$(cat out)"
    grep -qE '^lifecycle +good ' out || fail "$(cat out)"
    grep -qE '^latency +[0-9]+ ms to create a small object$' out || fail "$(cat out)"
    for what in upload download; do
        grep -qE "^$what +[0-9.]+ ([KMGT]i)?B/s in one request of 4 MiB$" out || fail "$what: $(cat out)"
    done
    boto << 'PYTHON'
assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
rule = lambda id, prefix: {"ID": id, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 30}}
s3.put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration={"Rules": [rule("ours", "pg/"), rule("logs", "logs/")]})
s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration={
    "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 7}}})
PYTHON
    exits 3 backstay check --json
    measured out
    jq -e '.verdict == "warning" and (.items | map(select(.what == "versioning"))[0].verdict == "good")' out > /dev/null || fail "$(cat out)"
    jq -r '.items[] | select(.what == "lifecycle") | .text' out > rules
    [[ $(wc -l < rules) -eq 1 ]] || fail "$(cat rules)"
    # shellcheck disable=SC2016 # backquotes are those of the text
    says rules 'rule `ours` deletes each object 30 days after it is created'
    exits 3 backstay check -s s3://locked
    says out 'on, and for every new object: COMPLIANCE for 7 days'
}

it_finds_a_server_good_that_checks_everything_and_warns_of_one_that_overwrites() {
    s3_server
    exits 0 backstay check
    grep -qE '^checksum +good ' out || fail "$(cat out)"
    grep -qE '^clock +good +agrees with the store' out || fail "$(cat out)"
    grep -qE '^verdict +good' out || fail "$(cat out)"
    [[ -z $(find objects/bucket -type f) ]] || fail "something is left: $(find objects/bucket -type f)"
    exits 0 backstay check --json
    measured out
    jq -e '.verdict == "good" and ([.items[].code] | unique == [null]) and (.clock_offset_ms | fabs < 10000)' out > /dev/null || fail "$(cat out)"
    rm port
    s3_server ignore-conditions
    exits 3 backstay check
    grep -qE '^conditional-create +warning ' out || fail "$(cat out)"
    [[ -z $(find objects/bucket -type f) ]] || fail "something is left"
    exits 3 backstay check --json
    jq -e '[.items[] | select(.code != null) | [.what, .verdict, .code]] == [["conditional-create", "warning", "store.condition-ignored"]]' out > /dev/null \
        || fail "$(cat out)"
    AWS_SECRET_ACCESS_KEY=wrong refuses store.denied backstay check
}

it_measures_what_really_passes() {
    s3_server
    # Of the puts the first is the small object and the fourth the large one, of the gets the third.
    behind_proxy PUT/1=delay:700 PUT/4=delay:1000 GET/3=delay:2000
    exits 0 backstay check --json
    measured out
    jq -e '.latency_ms >= 700 and .latency_ms < 60000 and .upload_bytes_per_second <= 4194304 and .upload_bytes_per_second > 70000
        and .download_bytes_per_second <= 2097152 and .download_bytes_per_second > 70000' out > /dev/null || fail "$(cat out fates)"
}

it_warns_of_an_object_that_is_not_there_after_it_was_created() {
    s3_server
    behind_proxy GET/2=answer:404
    exits 3 backstay check
    grep -qE '^read +warning +an object that was just created is not there$' out || fail "$(cat out fates)"
    [[ -z $(find objects/bucket -type f) ]] || fail "something is left: $(find objects/bucket -type f)"
}

it_warns_of_a_clock_that_is_off_in_either_direction() {
    local shift side
    # moto looks at no date, so that as much can be tried as people get wrong.
    moto
    boto <<< 's3.create_bucket(Bucket="bucket")'
    for shift in 7200 -7200; do
        side=$([[ $shift == -* ]] && echo behind || echo 'ahead of')
        exits 3 clocked $shift "$BACKSTAY" check
        grep -qE "^clock +warning +this machine's is (7199|7200|7201) s $side the store's$" out || fail "$(cat out)"
        exits 3 clocked $shift "$BACKSTAY" check --json
        measured out
        # It is the store's that is told, from ours.
        jq -e --argjson shift $shift '(.clock_offset_ms + 1000 * $shift | fabs < 10000) and (.items[] | select(.what == "clock") | .verdict == "warning" and .code == null)' \
            out > /dev/null || fail "$(cat out)"
    done
    # Less than a minute is not worth a word.
    clocked 40 "$BACKSTAY" check > out 2> err || true
    grep -qE "^clock +good +agrees with the store's$" out || fail "$(cat out)"
}

it_counts_ages_by_the_store_s_clock() {
    local id
    moto
    new_key
    export BACKSTAY_RECIPIENT=$RECIPIENT
    boto <<< 's3.create_bucket(Bucket="bucket")'
    # Begun 40 hours ago; and the clock of whoever watches is 20 hours behind.
    clocked -144000 "$BACKSTAY" backup --name shop < <(echo content) > receipt 2> err || fail "$(cat err)"
    exits 22 clocked -72000 "$BACKSTAY" check --max-age 26h
    says err 'shop: stale'
    says err "behind the store's, by which ages are counted"
    exits 0 clocked 72000 "$BACKSTAY" check --max-age 41h
    says err "ahead of the store's, by which ages are counted"
    # Three days ahead, once: it is never fresh, and what follows is.
    clocked 259200 "$BACKSTAY" backup --name shop < <(echo content) > receipt 2> err || fail "$(cat err)"
    id=$(cut -d ' ' -f 1 receipt)
    exits 22 clocked 345600 "$BACKSTAY" check --max-age 26h
    says err "$id was passed over"
    exits 0 backstay backup --name shop < <(echo newer)
    says err "\`backstay rm $id --yes\`"
    exits 0 backstay check --max-age 26h
    exits 0 backstay cat shop -i key.txt
    says out newer
}

it_tells_a_fresh_backup_from_a_stale_and_a_small_one() {
    new_key
    export BACKSTAY_STORE=store BACKSTAY_RECIPIENT=$RECIPIENT
    mkdir store
    exits 22 backstay check --max-age 1h --name shop
    says err 'shop: stale, there is no good archive'
    for _ in 1 2 3; do
        noise 200000 usual | backstay backup --name shop > /dev/null 2> err
    done
    exits 0 backstay check --max-age 1h
    grep -qE '^shop +fresh ' out || fail "$(cat out)"
    exits 22 backstay check --max-age 0s --name shop
    backstay backup --name shop -- echo cut short > /dev/null 2> err
    exits 3 backstay check --max-age 1h
    grep -qE '^shop +small ' out || fail "$(cat out)"
    exits 0 backstay check --max-age 1h --min-percent 0
    exits 3 backstay check --max-age 1h --json
    jq -e '.type == "freshness" and .verdict == "small" and (.sources[0].archives | length) == 4 and .sources[0].usual_size == 200000
        and .sources[0].archives[0].content == 10 and .sources[0].archives[0].took_ms >= 0' out > /dev/null || fail "$(cat out)"
    exits 3 backstay check --metrics
    says out 'backstay_source_small{name="shop",guid="'
    grep -qE '^backstay_last_archive_content_bytes\{name="shop",guid="[0-9a-f-]{36}"\} 10$' out || fail "$(cat out)"
    grep -qE '^backstay_last_archive_timestamp_seconds\{.*\} [0-9]{10}$' out || fail "$(cat out)"
    # Each line is a comment or a sample.
    ! grep -vE '^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+\{name="[^"]*",guid="[^"]*"\} [0-9.]+)$' out || fail "not the text format"
}

it_lets_each_role_do_what_its_policy_says_and_nothing_else() {
    local role
    moto
    new_key
    boto <<< 's3.create_bucket(Bucket="bucket", ObjectLockEnabledForBucket=True)'
    local given=(--object-tag team=db --lock-mode governance --lock-for 1d)
    for role in writer reader pruner; do
        exits 0 backstay policy --role $role "${given[@]}"
        cp out $role.json
        boto << PYTHON
iam.create_user(UserName="$role")
document = json.load(open("$role.json"))
# moto passes a statement over that has a condition of S3's; that the condition stands there is for the unit tests.
for statement in document["Statement"]:
    statement.pop("Condition", None)
iam.put_user_policy(UserName="$role", PolicyName="backstay", PolicyDocument=json.dumps(document))
key = iam.create_access_key(UserName="$role")["AccessKey"]
with open("$role.env", "w") as file:
    file.write(f'AWS_ACCESS_KEY_ID={key["AccessKeyId"]} AWS_SECRET_ACCESS_KEY={key["SecretAccessKey"]}\n')
PYTHON
    done
    boto << 'PYTHON'
iam.create_user(UserName="owner")
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.put_user_policy(UserName="owner", PolicyName="all", PolicyDocument=json.dumps(everything))
key = iam.create_access_key(UserName="owner")["AccessKey"]
with open("owner.env", "w") as file:
    file.write(f'OWNER_KEY={key["AccessKeyId"]} OWNER_SECRET={key["SecretAccessKey"]}\n')
request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
urllib.request.urlopen(request)
PYTHON
    # From here on the server checks signatures and rights.
    as() {
        local role=$1
        shift
        # shellcheck disable=SC2046 # two assignments
        env $(< "$role.env") "$@"
    }
    noise 6000000 roles > content
    as writer "$BACKSTAY" backup -r "$RECIPIENT" --name roles --part-size 4MiB "${given[@]}" < content > receipt 2> err || fail "$(cat err)"
    exits 0 as reader "$BACKSTAY" cat roles -i key.txt
    same content out
    exits 0 as reader "$BACKSTAY" verify roles --depth full
    exits 0 as reader "$BACKSTAY" check --max-age 1h
    refuses store.denied as writer "$BACKSTAY" cat roles -i key.txt
    # What is kept and what goes is for others to say.
    refuses store.denied as writer "$BACKSTAY" hold "$(cut -d ' ' -f 1 receipt)"
    exits 0 as writer "$BACKSTAY" note "$(cut -d ' ' -f 1 receipt)" 'the last one before the move'
    refuses store.denied as reader "$BACKSTAY" backup -r "$RECIPIENT" --name roles -- echo no
    exits 3 as writer "$BACKSTAY" check
    grep -qE '^left ' out || fail "$(cat out)"
    # moto tells everybody of the object lock.
    for what in versioning lifecycle; do
        grep -qE "^$what +- +cannot be told: this credential may not ask$" out || fail "$what: $(cat out)"
    done
    # What a backup by it does not need is no fault of it.
    for what in read delete; do
        grep -qE "^$what +- +this credential may not $what, as is right for one that only makes backups$" out || fail "$what: $(cat out)"
    done
    exits 3 as pruner "$BACKSTAY" check
    grep -qE '^versioning +good ' out || fail "$(cat out)"
    exits 0 as pruner "$BACKSTAY" gc --yes
    # Another prefix is nobody's business.
    refuses store.denied as writer "$BACKSTAY" backup -s s3://bucket/other -r "$RECIPIENT" --name roles -- echo no
    # shellcheck disable=SC2046 # two assignments
    export $(< owner.env)
    boto <<< 'assert all(object["Key"].startswith("pg/") for object in s3.list_objects_v2(Bucket="bucket")["Contents"])'
}

it_believes_an_authority_of_ones_own_only_when_told() {
    s3_server
    authority
    "$PYTHON" "$E2E/tunnel.py" tls tls-port "$(< port)" server.pem server.key &
    PIDS+=($!)
    wait_until 10 test -e tls-port
    AWS_ENDPOINT_URL=https://localhost:$(< tls-port)
    new_key
    refuses store.failed backstay check
    exits 0 backstay check --ca-file ca.pem
    exits 0 backstay backup -r "$RECIPIENT" --name tls --ca-file ca.pem -- echo over TLS
    BACKSTAY_CA_FILE=ca.pem exits 0 backstay cat tls -i key.txt
    says out 'over TLS'
    refuses usage.arguments backstay list --ca-file ca.key
    refuses usage.arguments backstay list --ca-file nowhere.pem
}

it_goes_through_the_proxy_that_the_environment_names() {
    s3_server
    "$PYTHON" "$E2E/tunnel.py" proxy proxy-port proxy.log "s3.example.test=$(< port)" "bucket.s3.example.test=$(< port)" &
    PIDS+=($!)
    wait_until 10 test -e proxy-port
    HTTP_PROXY=http://127.0.0.1:$(< proxy-port)
    export HTTP_PROXY AWS_ENDPOINT_URL=http://s3.example.test
    exits 0 backstay list
    says proxy.log 'GET http://s3.example.test/bucket?'
    # Where the bucket stands is seen best from the proxy; the server knows no buckets in host names.
    : > proxy.log
    backstay list --addressing-style virtual > out 2> err || true
    says proxy.log 'GET http://bucket.s3.example.test/?'
    : > proxy.log
    NO_PROXY=s3.example.test backstay list > out 2> err && fail "that host is nowhere"
    [[ ! -s proxy.log ]] || fail "the proxy was asked"
    # TLS goes through a tunnel.
    AWS_ENDPOINT_URL=https://s3.example.test HTTPS_PROXY=$HTTP_PROXY backstay list > out 2> err && fail "that server has no TLS"
    says proxy.log 'CONNECT s3.example.test:443'
}

run_cases "$@"
