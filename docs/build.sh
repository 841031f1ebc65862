#!/usr/bin/env bash
# Builds the book of docs/ with mdBook into target/book, and prints where it is. What it is doing goes to standard error.
# build.sh --pages DIR: only writes into DIR, which must not be there, the pages that mdBook reads.
#
# mdBook is that of the variable MDBOOK, or the one that cargo builds once. It is kept in the user's cache, beside the programs of
# the test bed.
set -euo pipefail

docs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=0.5.4

say() { printf 'docs: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
instead="set MDBOOK to the path of an mdbook $version"

# Writes the pages into $1. A page of docs/ is the same there, but for some links: README.md becomes the first page, index.md; a
# directory that has a page of its name becomes that page; and what leaves docs/ leads to the repository.
write_pages() {
  local pages=$1 repository name below up here
  repository=$(sed -n 's/^git-repository-url = "\(.*\)"/\1/p' "$docs/book.toml")
  mkdir -p "$pages"
  (cd "$docs" && find . -type f ! -name '*.sh' ! -name book.toml -print0 | xargs -0 cp --parents -t "$pages")
  find "$pages" -name '*.md' -print0 | while IFS= read -r -d '' page; do
    below=${page#"$pages"/}
    here=$(sed 's#[^/]*/#../#g; s#[^/]*$##' <<<"$below") # from the page up to docs/
    up=$here../
    sed -i -E -e "s#\]\(${up//./\\.}README\.md#](${here}index.md#g" \
      -e "s#\]\(${up//./\\.}([^)]*)\)#]($repository/\1)#g" "$page"
  done
  sed -E -e 's#\]\(docs/#](<docs>/#g' -e "s#\]\(([[:alnum:]][^):]*)\)#]($repository/\1)#g" -e 's#\]\(<docs>/#](#g' \
    "$docs/../README.md" >"$pages/index.md"
  for name in "$docs"/*/; do
    name=$(basename "$name")
    [ ! -e "$docs/$name.md" ] ||
      find "$pages" -name '*.md' -exec sed -i -E "s#\]\(((\.\./)*)$name/?\)#](\1$name.md)#g" {} +
  done
}

# Sets `mdbook`.
find_mdbook() {
  if [ -n "${MDBOOK:-}" ]; then mdbook=$MDBOOK; return; fi
  # shellcheck source=../loadtest/testbed/go.sh
  . "$docs/../loadtest/testbed/go.sh" # for `cache`
  mdbook=$cache/mdbook-$version/bin/mdbook
  [ ! -x "$mdbook" ] || return 0
  exec 9>"$cache/mdbook.lock"
  flock 9
  [ ! -x "$mdbook" ] || return 0
  local started=$SECONDS work
  work=$(mktemp -d "$cache/mdbook-building.XXXXXX")
  # shellcheck disable=SC2064 # it is known now
  trap "rm -rf '$work'" EXIT
  say "building mdBook $version from its registry: two to five minutes on two cores, once"
  # A program for this machine, whatever the operator is built for.
  env -u CARGO_BUILD_TARGET CARGO_TARGET_DIR="$work/target" cargo install --quiet --locked --no-default-features \
    --features search --root "$work/root" "mdbook@$version" >&2 ||
    die "mdBook did not build: what cargo says is above; or $instead"
  # Complete once it exists: it comes by a rename.
  mv -T "$work/root" "$cache/mdbook-$version"
  say "built in $((SECONDS - started)) s"
}

if [ "${1:-}" = --pages ]; then
  [ ! -e "${2:?--pages wants a directory}" ] || die "$2 is there already"
  write_pages "$2"
  exit
fi

find_mdbook
target=${CARGO_TARGET_DIR:-$docs/../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
rm -rf "$target/book" "$target/book-source"
write_pages "$target/book-source/pages"
cp "$docs/book.toml" "$target/book-source"
"$mdbook" build "$target/book-source" --dest-dir "$target/book" >&2
say "$(find "$target/book-source/pages" -name '*.md' ! -name SUMMARY.md | wc -l) pages, with a search"
echo "$target/book/index.html"
