#!/bin/bash
# setup.sh [LIST]: installs the Debian packages of the list (`packages`) beside it that this machine lacks. Silent and without any call of
# the package manager when nothing is missing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mapfile -t packages < <(grep -v '^#' "$here/${1:-packages}")

if ! command -v dpkg-query >/dev/null; then
    echo "setup: this machine is not a Debian; install these by hand: ${packages[*]}" >&2
    exit 1
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: missing on this machine: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: run as root: apt-get update && apt-get install ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing them with apt-get"
if ! { "${root[@]}" apt-get update && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get could not install them; mend what it says above, or install by hand: ${missing[*]}" >&2
    exit 1
fi
echo "setup: installed"
