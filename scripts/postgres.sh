# shellcheck shell=bash
# Throw-away PostgreSQL servers, for scripts that source this file. A server is named by its directory:
#
#   pg_start DIR       makes a cluster with the superuser "postgres" in DIR, which must not exist, and starts it
#   pg_on DIR CMD...   runs CMD with the PG* variables of that server
#   pg_stop DIR        stops it
#   pg_stop_all        stops all that this process started; for an EXIT trap
#
# A server listens on a socket in its directory and on no port, so that any number of them run side by side. As root, servers run
# as the user "postgres" that Debian's package makes, since PostgreSQL refuses to run as root.

PG_BIN=${PG_BIN:-/usr/lib/postgresql/${PG_VERSION:-15}/bin}
[[ -x $PG_BIN/initdb ]] || PG_BIN=$(dirname "$(readlink -f "$(command -v initdb)")")
# Debian's own psql and pg_dump are wrappers that choose a version; here the server's version is wanted.
PATH=$PG_BIN:$PATH
PG_STARTED=()

# Runs a command as the user that servers run as.
pg_as_server() {
    if ((EUID == 0)); then
        (cd / && setpriv --reuid postgres --regid postgres --init-groups -- "$@")
    else
        "$@"
    fi
}

pg_start() {
    local dir=$1
    mkdir -p "$dir/socket"
    if ((EUID == 0)); then
        chown -R postgres: "$dir"
    fi
    # No fsync: these servers may lose their data with the machine.
    pg_as_server "$PG_BIN/initdb" --pgdata "$dir/data" --username postgres --auth trust --encoding UTF8 --locale C.UTF-8 \
        --no-sync > "$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        return 1
    }
    cat >> "$dir/data/postgresql.conf" << CONF
wal_level = logical
listen_addresses = ''
unix_socket_directories = '$dir/socket'
fsync = off
shared_buffers = 32MB
CONF
    PG_STARTED+=("$dir")
    pg_as_server "$PG_BIN/pg_ctl" --pgdata "$dir/data" --log "$dir/server.log" --silent --wait start || {
        cat "$dir/server.log" >&2
        return 1
    }
}

pg_on() {
    local dir=$1
    shift
    env -u PGSERVICE -u PGPASSFILE PGHOST="$dir/socket" PGPORT=5432 PGUSER=postgres PGDATABASE=postgres "$@"
}

pg_stop() {
    local dir=$1 other left=()
    [[ ! -e $dir/data/postmaster.pid ]] || pg_as_server "$PG_BIN/pg_ctl" --pgdata "$dir/data" --mode immediate --silent --wait stop
    for other in "${PG_STARTED[@]}"; do
        [[ $other == "$dir" ]] || left+=("$other")
    done
    PG_STARTED=("${left[@]}")
}

pg_stop_all() {
    local dir
    for dir in "${PG_STARTED[@]}"; do
        pg_stop "$dir" || true
    done
}

# pg_dump_of DIR: the whole cluster as text, to compare it with another one. Left out are the \restrict lines, which hold a random word,
# and the order of a table's rows, which a restore need not keep: COPY fills gaps in pages where they are.
pg_dump_of() {
    pg_on "$1" pg_dumpall | LC_ALL=C awk '
        /^\\(un)?restrict / { next }
        copying && /^\\\.$/ { close("sort"); copying = 0 }
        copying { print | "sort"; next }
        { print; fflush() }
        /^COPY .* FROM stdin;$/ { copying = 1 }'
}
