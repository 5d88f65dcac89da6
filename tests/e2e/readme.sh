#!/usr/bin/env bash
# What the documentation says can be done.
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"

it_can_be_toured_as_the_readme_says() {
    pg_start "$PWD/server"
    pg_on "$PWD/server" psql -X -q -v ON_ERROR_STOP=1 -f "$E2E/odd-cluster.sql"
    mkdir bin tour
    ln -s "$BACKSTAY" bin/backstay
    ln -s "$REPOSITORY/spec" tour/spec
    # shellcheck disable=SC2016 # backquotes are those of the document
    sed -n '/^```sh$/,/^```$/p' "$REPOSITORY/README.md" | grep -v '^```' > tour.sh
    (($(wc -l < tour.sh) > 20)) || fail "there is no tour in README.md"
    (cd tour && exits 0 pg_on "$OLDPWD/server" env PATH="$OLDPWD/bin:$(dirname "$PYTHON"):$PATH" bash -euxo pipefail ../tour.sh)
    says tour/out 'exit status 30'
    says tour/out 'source.failed'
}

it_has_no_link_to_a_file_that_is_not_there() {
    local document target
    cd "$REPOSITORY"
    while IFS= read -r document; do
        while IFS= read -r target; do
            [[ -e $(dirname "$document")/$target ]] || fail "$document links to $target"
        done < <(grep -oE '\]\([^)#]+' "$document" | cut -c 3- | grep -v '://')
    done < <(git ls-files '*.md' 2> /dev/null || find . -name '*.md' -not -path './target/*')
}

run_cases "$@"
