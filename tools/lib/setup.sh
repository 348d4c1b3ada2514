# shellcheck shell=bash
# What ./tools/run and ./tools/test share: install what is missing, configure and build one preset.
# Sourced, never run. Everything it says goes to stderr; stdout belongs to the caller.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Debian 12 / Ubuntu 24.04 packages. A program counts as present wherever PATH finds it; a library when dpkg has it.
build_programs=(cmake:cmake ninja:ninja-build g++:g++ ccache:ccache)
build_libraries=(libcli11-dev libspdlog-dev nlohmann-json3-dev libgtest-dev libssl-dev libutf8proc-dev libsqlite3-dev libpcre2-dev)

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): ${*:2}"; exit "$1"; }  # die EXIT_CODE MESSAGE...

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_packages PACKAGE... : says what, then installs through apt-get, by sudo where we are not root.
install_packages() {
  local as_root=()
  command -v apt-get >/dev/null ||
    die 1 "missing: $* (Debian's names), and there is no apt-get here; install them by hand and run this again"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die 1 "missing: $*; run as root: apt-get install $*"
    as_root=(sudo)
  fi
  say "Installing with ${as_root[*]:+${as_root[*]} }apt-get: $*"
  # -E is often forbidden in sudoers, so the frontend travels through env.
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
  "${apt[@]}" -q update >&2 </dev/null || say "apt-get update failed; trying the package lists that are already here"
  "${apt[@]}" -q install -y --no-install-recommends "$@" >&2 </dev/null ||
    die 1 "apt-get could not install: $*; with no network, install them from another source and run this again"
}

install_build_tools() {
  local missing=() entry
  for entry in "${build_programs[@]}"; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
  done
  for entry in "${build_libraries[@]}"; do
    # Without dpkg there is nothing to ask: CMake's find_package decides, with its own message.
    if command -v dpkg-query >/dev/null && ! is_installed "$entry"; then missing+=("$entry"); fi
  done
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# build PRESET [TARGET...] : configures where needed, then builds; prints only when there is something to do.
build() {
  local preset=$1 dir=$repo/build/$1 log lock
  shift
  if [ -n "${HOME:-}" ] && [ -w "$HOME" ]; then :; else export CCACHE_DIR=${CCACHE_DIR:-$repo/build/ccache}; fi
  mkdir -p "$repo/build"
  exec {lock}>"$repo/build/.lock" # two of us in one tree take turns
  flock "$lock" || die 1 "cannot lock $repo/build/.lock"
  if [ -f "$dir/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$repo" "$dir/CMakeCache.txt"; then
    say "build/$preset was made for another folder; configuring it anew"
    rm -rf "$dir"
  fi
  log=$dir.configure.log
  if [ ! -f "$dir/build.ninja" ]; then
    say "Configuring build/$preset"
    (cd "$repo" && cmake --preset "$preset") >"$log" 2>&1 || { cat "$log" >&2; die 1 "cmake --preset $preset failed"; }
  fi
  if ! ninja -C "$dir" -n "$@" | grep -q '^ninja: no work to do'; then
    say "Building build/$preset (the first time takes minutes)"
    ninja -C "$dir" "$@" >&2 || die 1 "the build failed"
  fi
  exec {lock}>&-
}
