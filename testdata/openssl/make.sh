#!/usr/bin/env bash
# Makes the archives of this directory with stock tools: the fixtures of the openssl profile.
#
#   testdata/openssl/make.sh DIRECTORY
#
# The committed archives are never made anew: a reader must go on reading them as they are. A new case is added beside them. Made
# with OpenSSL 3.0, gzip 1.12, pigz 2.6 and coreutils 9.1.
set -euo pipefail

out=$1
password=correct-horse
mkdir -p "$out"

# A cluster dump of some kilobytes, the same on every machine.
dump() {
  echo '--'
  echo '-- PostgreSQL database cluster dump'
  echo '--'
  echo 'COPY public.orders (id, customer, total) FROM stdin;'
  awk 'BEGIN {
    x = 1
    for (row = 1; row <= 200; row++) {
      x = (x * 16807) % 2147483647
      printf "%d\tcustomer-%d\t%d.%02d\n", row, x % 9973, x % 800, x % 100
    }
  }'
  echo '\.'
  echo '--'
  echo '-- PostgreSQL database cluster dump complete'
  echo '--'
}

# encrypt SALT OPTIONS...: stdin to stdout as `openssl enc` with this salt. With -S, OpenSSL 3 writes no header and OpenSSL 1 does.
encrypt() {
  local salt=$1 body
  shift
  body=$(mktemp)
  openssl enc -aes256 "$@" -S "$salt" -pass "pass:$password" >"$body" 2>/dev/null
  if ! head -c 8 "$body" | cmp -s - <(printf Salted__); then
    printf 'Salted__'
    printf '%b' "$(sed 's/../\\x&/g' <<<"$salt")"
  fi
  cat "$body"
  rm "$body"
}

# parts ID FIRST WIDTH SIZE: stdin into parts of SIZE bytes, numbered from FIRST, padded to WIDTH digits (1: not padded).
parts() {
  local id=$1 index=$2 width=$3 size=$4 chunk
  local dir
  dir=$(mktemp -d)
  split -b "$size" -a 4 -d - "$dir/"
  for chunk in "$dir"/*; do
    mv "$chunk" "$id-$(printf "%0${width}d" "$index")"
    index=$((index + 1))
  done
  rmdir "$dir"
}

# a NAME begins a case in a directory of its own.
a() {
  mkdir "$out/$1"
  cd "$out/$1"
}

cd "$out"
out=$PWD
dump >dump.sql

a seconds-md5
id=de2fe9e4-6535-423d-8709-dca87df7985c-1740130000
gzip -n <../dump.sql | encrypt 0011223344556677 -md md5 | parts $id 0 1 1000
echo '{"id":11,"status":"done"}' >$id.json

a millis-sha256-from-1
id=b6f4c071-ef44-4af2-9608-531b4ce4823f-1548967947154
gzip -n <../dump.sql | encrypt 1021324354657687 -md sha256 | parts $id 1 1 157
echo '{"id":12,"status":"done"}' >$id.json

a padded-md5
id=b6f4c071-ef44-4af2-9608-531b4ce4823f-1569935509279
gzip -n <../dump.sql | encrypt 2031425364758697 -md md5 | parts $id 0 2 160

a azure-md5
id=b6f4c071-ef44-4af2-9608-531b4ce4823f-1742693407644
gzip -n <../dump.sql | encrypt 30415263748596a7 -md md5 >$id

a pbkdf2-100000
id=de2fe9e4-6535-423d-8709-dca87df7985c-1742693407645
gzip -n <../dump.sql | encrypt 405162738495a6b7 -pbkdf2 -iter 100000 | parts $id 0 1 1000

a pbkdf2-default
id=de2fe9e4-6535-423d-8709-dca87df7985c-1742693407646
gzip -n <../dump.sql | encrypt 5061728394a5b6c7 -pbkdf2 | parts $id 0 1 1000

a sha1
id=de2fe9e4-6535-423d-8709-dca87df7985c-1740130001
gzip -n <../dump.sql | encrypt 60718293a4b5c6d7 -md sha1 | parts $id 0 1 1000

# Members of gzip and of pigz, one with a file name in its header, then zero bytes, as a tape would pad them.
a multi-member-md5
id=de2fe9e4-6535-423d-8709-dca87df7985c-1740130002
{
  head -c 2000 ../dump.sql | gzip -n
  tail -c +2001 ../dump.sql | head -c 1000 >orders.sql
  touch -d @1740130002 orders.sql
  gzip -c -N orders.sql
  rm orders.sql
  tail -c +3001 ../dump.sql | pigz -n
  head -c 512 /dev/zero
} | encrypt 708192a3b4c5d6e7 -md md5 | parts $id 0 1 1000

a raw-sha256
id=de2fe9e4-6535-423d-8709-dca87df7985c-1740130003
encrypt 8192a3b4c5d6e7f8 -md sha256 <../dump.sql | parts $id 0 1 1000
