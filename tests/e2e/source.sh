#!/usr/bin/env bash
# What the source does, and what interrupts the run, decides whether there is an archive.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

# A group of its own, as a terminal gives it. The shell lets its background processes ignore SIGINT, which a terminal does not.
in_background() {
    exec_in_background "$@" > out 2> err &
    PIDS+=($!)
}
exec_in_background() { exec setsid -- env --default-signal=INT,HUP "$@"; }

objects() { find "$1" -maxdepth 1 -type f 2> /dev/null | wc -l; }
has_objects() { (($(objects store) >= $1)); }

# interrupted_by SIGNAL: a run that has stored two parts gets the signal, as from a terminal: with its whole group.
interrupted_by() {
    local status=0
    new_key
    mkdir store
    in_background "$BACKSTAY" backup -s store -r "$RECIPIENT" --part-size 4MiB --name slow -- sh -c 'openssl rand 12000000; sleep 600'
    wait_until 30 has_objects 2
    kill "-$1" -- "-${PIDS[0]}"
    wait "${PIDS[0]}" || status=$?
    [[ $status -eq 130 ]] || fail "exit status $status: $(cat err)"
    says err 'error[interrupted]'
    nothing_committed store
    exits 0 backstay list -s store --incomplete
    [[ $(grep -c incomplete out) -eq 1 ]] || fail "list --incomplete says: $(cat out)"
    exits 0 backstay backup -s store -r "$RECIPIENT" --name slow -- echo next
    exits 0 backstay cat -s store slow -i key.txt
    says out next
}

it_leaves_no_manifest_on_an_interrupt_from_the_terminal() { interrupted_by INT; }
it_leaves_no_manifest_on_a_termination() { interrupted_by TERM; }
it_leaves_no_manifest_when_its_terminal_goes_away() { interrupted_by HUP; }

it_refuses_a_command_that_fails_after_all_its_output() {
    new_key
    mkdir store
    refuses source.failed backstay backup -s store -r "$RECIPIENT" -- sh -c 'echo all of it; echo what is wrong >&2; exit 3'
    says err 'what is wrong'
    nothing_committed store
}

it_refuses_a_command_that_does_not_exist() {
    new_key
    mkdir store
    refuses source.failed backstay backup -s store -r "$RECIPIENT" -- no-such-command
    nothing_committed store
}

it_refuses_an_empty_source_unless_told_otherwise() {
    new_key
    mkdir store
    refuses source.empty backstay backup -s store -r "$RECIPIENT" -- true
    refuses source.too-small backstay backup -s store -r "$RECIPIENT" --min-size 1k -- echo small
    nothing_committed store
    exits 0 backstay backup -s store -r "$RECIPIENT" --allow-empty -- true
    exits 0 backstay cat -s store latest -i key.txt
    [[ ! -s out ]] || fail "there is content"
}

it_refuses_to_write_without_a_key() {
    mkdir store
    refuses usage.recipient backstay backup -s store -- echo secret
    nothing_committed store
    exits 0 backstay backup -s store --no-encryption -- echo public
    refuses key.open backstay cat -s store latest
    exits 0 backstay cat -s store latest --allow-open
    says out public
}

run_cases "$@"
