#!/usr/bin/env bash
# Whether what is committed to a directory would survive a power cut: the order in which the system is asked to flush.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

# flushes TRACE DIRECTORY: reads strace's lines and demands of every object that its bytes were flushed before it got its name, and of every
# part that the directory was flushed after that and before the manifest got its name. Prints the number of parts and of manifests.
flushes() {
    "$PYTHON" - "$@" << 'PYTHON'
import re, sys

directory = sys.argv[2]
pending, flushed, named, safe, manifests = {}, set(), set(), set(), 0
for line in open(sys.argv[1], errors="replace"):
    thread, call = line.rstrip("\n").split(None, 1)
    begun = call.endswith("<unfinished ...>")
    resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
    if begun:
        call = call.removesuffix("<unfinished ...>")
    if resumed:
        call, before = pending[thread][0] + resumed[1], pending.pop(thread)[1]
    else:
        before = set(named)
    link = re.match(r'linkat\([^,]+, "([^"]+)", [^,]+, "([^"]+)"', call)
    if link and not resumed and link[2].endswith(".json"):
        assert named and named <= safe, f"the manifest is made before these parts are safe: {sorted(named - safe)}"
    if begun:
        pending[thread] = (call, before)
        continue
    if not call.rstrip().endswith("= 0"):
        continue
    flush = re.match(r"f(?:data)?sync\(\d+<([^>]+)>", call)
    if flush and flush[1] == directory:
        safe |= before
    elif flush:
        flushed.add(flush[1])
    elif link:
        assert link[1] in flushed, f"{link[2]} got its name before its bytes were flushed"
        named.add(link[2])
        manifests += link[2].endswith(".json")
assert any(name.endswith(".json") for name in safe), "the manifest's name is not flushed before the end"
print(len(named) - manifests, manifests)
PYTHON
}

it_flushes_every_part_before_the_manifest_has_its_name() {
    mkdir store
    noise 30000000 durable > content
    exits 0 strace -f -y -s 4096 -e trace=fsync,fdatasync,linkat -o trace \
        "$BACKSTAY" backup -s "$PWD/store" --no-encryption --part-size 4MiB --name files < content
    exits 0 flushes trace "$PWD/store"
    [[ $(< out) == "8 1" ]] || fail "flushed are $(< out) parts and manifests"
}

it_would_see_a_missing_flush() {
    mkdir store
    noise 30000000 durable > content
    exits 0 strace -f -y -s 4096 -e trace=fsync,fdatasync,linkat -o trace \
        "$BACKSTAY" backup -s "$PWD/store" --no-encryption --part-size 4MiB --name files < content
    grep -v "sync([0-9]*<$PWD/store>" trace > without-directory
    exits 1 flushes without-directory "$PWD/store"
    grep -v 'sync([0-9]*<.*backstay-tmp' trace > without-files
    exits 1 flushes without-files "$PWD/store"
}

run_cases "$@"
