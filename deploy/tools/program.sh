#!/usr/bin/env bash
# program.sh [--arch amd64|arm64] [--profile dist]: builds the static program of the operator's image, for this machine's
# architecture or for the other one, and prints its path as the last line of its standard output. The Dockerfile and
# `make image` run it. CARGO_TARGET_DIR says where it builds, as always.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD program=configmapsync-operator

say() { printf 'program: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

own=$(uname -m) arch='' profile=dist
case $own in x86_64) own=amd64 ;; aarch64 | arm64) own=arm64 ;; esac
while [ $# -gt 0 ]; do
  case $1 in
    --arch) arch=${2:-} ;;
    --profile) profile=${2:-} ;;
    *) die "unknown option $1: program.sh [--arch amd64|arm64] [--profile NAME]" ;;
  esac
  shift 2 || die "$1 needs a value"
done
arch=${arch:-$own}
case $arch in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) die "no image for the architecture $arch: amd64 or arm64" ;;
esac
target=$machine-unknown-linux-gnu
[ "$(uname -s)" = Linux ] || die "the program of an image is built on Linux: use make docker-build"

# For the other architecture: its standard library, and a C compiler that makes it.
if [ "$arch" != "$own" ]; then
  compiler=$machine-linux-gnu-gcc packages="gcc-${machine/_/-}-linux-gnu libc6-dev-$arch-cross"
  if ! command -v "$compiler" >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "$compiler is missing: apt-get install $packages"
    say "installing $packages"
    # shellcheck disable=SC2086 # one word each
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } >&2
  fi
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target" >&2 ||
    die "Rust's standard library for $target is missing: rustup target add $target"
  name=${target//-/_}
  export "CARGO_TARGET_$(tr '[:lower:]' '[:upper:]' <<<"$name")_LINKER=$compiler" "CC_$name=$compiler"
fi

# A panic's message has the path of a source file: with these names the bytes are the same wherever this is built, and for
# whom. The compiler runs in a crate's directory, and knows that one by what a symbolic link leads to.
home=${CARGO_HOME:-$HOME/.cargo}
registry=$(readlink -f "$home/registry" || echo "$home/registry")
built=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
# What separates flags is no space: a directory may have one in its name. The last that fits counts.
mark=$'\x1f' flags=-Ctarget-feature=+crt-static
for pair in "$root=/src" "$home=/cargo" "$registry=/cargo/registry" "$built=/target"; do
  flags="$flags$mark--remap-path-prefix=$pair"
done

say "building $program for $arch with the profile $profile"
# --target even where it is the machine's own: without it the flags would go to build scripts and macros too.
env -u RUSTFLAGS CARGO_ENCODED_RUSTFLAGS="$flags" "${CARGO:-cargo}" build --locked --profile "$profile" --target "$target" \
  --target-dir "$built" --package "$program" --bin "$program" >&2
# The one profile whose directory has another name.
[ "$profile" != dev ] || profile=debug
path=$built/$target/$profile/$program
# A program that looks for a loader would not start in an empty image: better found here.
if LC_ALL=C grep -q '/ld-linux-' "$path"; then die "$path is not a static program"; fi
echo "$path"
