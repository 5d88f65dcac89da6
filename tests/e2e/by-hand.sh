#!/usr/bin/env bash
# An archive without Backstay: by stock tools, and by the reference reader.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

READER=("$PYTHON" "$REPOSITORY/spec/reference/read.py")
CONTENT=$SCRATCH/content
{
    echo 'text, then bytes that no codec makes smaller, then zeros'
    noise 9000000 content
    head -c 9000000 /dev/zero
} > "$CONTENT"

# archive ARGUMENTS...: makes an archive of several parts and sets ID.
archive() {
    exits 0 backstay backup -s store --part-size 4MiB --name by-hand "$@" < "$CONTENT"
    read -r ID _ < out
}

it_gives_the_secret_to_age_and_the_content_to_the_reference_reader() {
    new_key
    archive -r "$RECIPIENT"
    head -n1 "store/$ID-0" | cut -c11- | jq -r '.keys[0]' | base64 -d | age -d -i key.txt > secret.bin
    [[ $(stat -c %s secret.bin) -eq 32 ]] || fail "the secret has $(stat -c %s secret.bin) bytes"
    "${READER[@]}" store "$ID" --raw-key secret.bin > read.out
    same "$CONTENT" read.out
}

it_takes_a_key_of_age_itself() {
    age-keygen -o key.txt 2> age.err
    archive -r "$(grep -o 'age1[0-9a-z]*' age.err)"
    exits 0 backstay cat -s store latest -i key.txt
    same "$CONTENT" out
    exits 0 "${READER[@]}" store "$ID" --identity key.txt
    same "$CONTENT" out
}

it_gives_a_stream_that_zstd_reads() {
    new_key
    archive -r "$RECIPIENT"
    exits 0 backstay cat -s store latest -i key.txt --raw
    zstd -dc < out > read.out
    same "$CONTENT" read.out
}

it_gives_a_stream_that_gunzip_reads() {
    new_key
    archive -r "$RECIPIENT" --codec gzip
    exits 0 backstay cat -s store latest -i key.txt --raw
    gunzip < out > read.out
    same "$CONTENT" read.out
}

it_is_read_by_the_reference_reader_in_every_format() {
    local aead codec
    new_key
    for aead in aes-256-gcm chacha20-poly1305; do
        for codec in zstd gzip; do
            archive -r "$RECIPIENT" --aead "$aead" --codec "$codec"
            "${READER[@]}" store "$ID" --identity key.txt > read.out
            same "$CONTENT" read.out
        done
    done
    echo 'a passphrase' > passphrase
    archive --passphrase-file passphrase
    "${READER[@]}" store "$ID" --passphrase-file passphrase > read.out
    same "$CONTENT" read.out
    backstay key generate --raw raw.key
    archive --raw-key raw.key
    "${READER[@]}" store "$ID" --raw-key raw.key > read.out
    same "$CONTENT" read.out
    archive --no-encryption
    "${READER[@]}" store "$ID" --allow-open > read.out
    same "$CONTENT" read.out
    archive -r "$RECIPIENT" --detached-keys --pad padme
    "${READER[@]}" store "$ID" --identity key.txt > read.out
    same "$CONTENT" read.out
    archive --format openssl --passphrase-file passphrase
    "${READER[@]}" store "$ID" --password-file passphrase --require-seal > read.out
    same "$CONTENT" read.out
}

it_is_restored_without_its_manifest() {
    new_key
    archive -r "$RECIPIENT"
    rm "store/$ID.json"
    refuses archive.uncommitted backstay cat -s store "$ID" -i key.txt
    exits 0 backstay cat -s store "$ID" -i key.txt --no-manifest
    same "$CONTENT" out
    "${READER[@]}" store "$ID" --identity key.txt --no-manifest > read.out
    same "$CONTENT" read.out
}

it_gets_its_lost_manifest_back() {
    new_key
    archive -r "$RECIPIENT"
    mv "store/$ID.json" lost.json
    exits 0 backstay reassemble -s store "$ID" -i key.txt
    exits 0 backstay verify -s store "$ID" -i key.txt
    "${READER[@]}" store "$ID" --identity key.txt > read.out
    same "$CONTENT" read.out
    exits 0 backstay cat -s store latest -i key.txt
    same "$CONTENT" out
}

it_has_sums_that_sha256sum_checks() {
    new_key
    archive -r "$RECIPIENT"
    exits 0 backstay verify -s store latest --sums
    mv out sums
    (cd store && sha256sum --check --strict --quiet ../sums)
    [[ $(wc -l < sums) -eq $(find store -name "$ID-*" | wc -l) ]] || fail "there is not one line for each part"
}

run_cases "$@"
