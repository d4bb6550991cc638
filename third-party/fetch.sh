#!/bin/bash
# Brings the pinned third-party sources of `lock` and unpacks them.
#
#   third-party/fetch.sh BUILD_DIR [NAME...]      (all of the lock file when no NAME is given)
#
# Each archive is looked for in the cache folders first ($EIDOLON_CACHE, BUILD_DIR/third-party/cache, the
# user's cache folder) and downloaded with the distribution's package tool only when none has it.
# An archive is used only when its SHA-256 is the one of the lock file. It is unpacked to
# BUILD_DIR/third-party/NAME, our patches of it are applied, and NAME.stamp beside it records what was
# unpacked, so that a second run does nothing.
#
# The package tool runs with a configuration of its own under BUILD_DIR, derived from the machine's
# entries with the suite replaced; the machine's own configuration and package lists are not touched.
set -euo pipefail

readonly suite=trixie
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
build=${1:?usage: fetch.sh BUILD_DIR [NAME...]}
shift
mkdir -p "$build/third-party"
work=$(cd "$build/third-party" && pwd)
readonly here top work

user_cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/eidolon
download_dir=${EIDOLON_CACHE:-$work/cache}
cache_dirs=("$download_dir" "$work/cache" "$user_cache")

fail() {
    echo "fetch: $*" >&2
    exit 1
}

say() {
    echo "  FETCH    $*"
}

sha256_of() {
    sha256sum "$1" | cut -d' ' -f1
}

# Print one deb-src entry for each of the machine's entries that is Debian's main archive: component
# `main`, a plain suite (no -security, -updates or vendor suite), whichever of apt's two formats it is in.
derive_sources() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    local list
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$list" ] || continue
        awk -v codename="$codename" -v suite="$suite" '
            $1 == "deb" || $1 == "deb-src" {
                rest = $0
                sub(/^deb(-src)?[ \t]+/, "", rest)
                options = ""
                if (match(rest, /^\[[^]]*\][ \t]*/)) {
                    options = substr(rest, 1, RLENGTH)
                    rest = substr(rest, RLENGTH + 1)
                }
                count = split(rest, field, /[ \t]+/)
                if (field[1] ~ /security/ || !plain(field[2])) next
                for (i = 3; i <= count; i++)
                    if (field[i] == "main") print signed_by(options), field[1]
            }
            function plain(name) {
                return name == codename || name == "stable" || name == "oldstable" || name == suite || name == "testing" || name == "sid"
            }
            function signed_by(options) {
                return match(options, /signed-by=[^] \t]+/) ? substr(options, RSTART + 10, RLENGTH - 10) : "-"
            }' "$list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [ -r "$list" ] || continue
        awk -v codename="$codename" -v suite="$suite" '
            function plain(name) {
                return name == codename || name == "stable" || name == "oldstable" || name == suite || name == "testing" || name == "sid"
            }
            function flush_stanza(   i, j, uris, suites, count, suite_count, wanted) {
                if (tolower(value["enabled"]) != "no" && (" " value["components"] " ") ~ / main /) {
                    suite_count = split(value["suites"], suites, /[ \t]+/)
                    wanted = 0
                    for (j = 1; j <= suite_count; j++) if (plain(suites[j])) wanted = 1
                    count = split(value["uris"], uris, /[ \t]+/)
                    for (i = 1; i <= count; i++)
                        if (wanted && uris[i] != "" && uris[i] !~ /security/)
                            print (value["signed-by"] ~ /^\// ? value["signed-by"] : "-"), uris[i]
                }
                delete value
            }
            /^[ \t]*$/ { flush_stanza(); next }
            /^#/ { next }
            /^[A-Za-z-]+:/ {
                key = tolower(substr($0, 1, index($0, ":") - 1))
                text = substr($0, index($0, ":") + 1)
                gsub(/^[ \t]+|[ \t]+$/, "", text)
                value[key] = text
                next
            }
            /^[ \t]/ { text = $0; gsub(/^[ \t]+|[ \t]+$/, "", text); value[key] = value[key] " " text }
            END { flush_stanza() }' "$list"
    done
}

# Prepare the private configuration and its package lists, once per run.
apt_ready=
apt_prepare() {
    [ -z "$apt_ready" ] || return 0
    command -v apt-get >/dev/null ||
        fail "this machine has no apt-get; put the archives of third-party/lock into $download_dir by hand and run again."
    local apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources.list.d"
    {
        echo "# Derived from this machine's entries by third-party/fetch.sh."
        derive_sources | sort -u | while read -r key uri; do
            if [ "$key" = - ]; then
                echo "deb-src $uri $suite main"
            else
                echo "deb-src [signed-by=$key] $uri $suite main"
            fi
        done
    } >"$apt/sources.list"
    grep -q '^deb-src' "$apt/sources.list" ||
        fail "found no entry for Debian's main archive in /etc/apt; put the archives of third-party/lock into $download_dir by hand and run again."
    apt_options=(
        -o "Dir::Etc::sourcelist=$apt/sources.list"
        -o "Dir::Etc::sourceparts=$apt/sources.list.d"
        -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache"
        -o "Acquire::Languages=none"
        -o "APT::Get::List-Cleanup=false"
        -o "APT::Sandbox::User=root"
        -o "Acquire::Retries=3"
    )
    say "source package index of $suite"
    # A second entry that lacks the suite must not hinder the first: what decides is whether the archive arrives.
    apt-get "${apt_options[@]}" update >"$apt/update.log" 2>&1 || true
    apt_ready=yes
}

download() {
    local package=$1 archive=$2
    apt_prepare
    mkdir -p "$download_dir"
    local into
    into=$(mktemp -d "$work/download.XXXXXX")
    say "$archive"
    if ! (cd "$into" && apt-get "${apt_options[@]}" source --download-only --tar-only --only-source "$package") \
        >"$work/apt/$package.log" 2>&1 || [ ! -f "$into/$archive" ]; then
        rm -rf "$into"
        tail -n 3 "$work/apt/update.log" "$work/apt/$package.log" >&2 || true
        fail "could not download $archive; check the network, or put the archive into $download_dir by hand and run again."
    fi
    mv "$into/$archive" "$download_dir/$archive"
    rm -rf "$into"
}

# Set `found` to a verified copy of the archive.
locate() {
    local name=$1 package=$2 archive=$3 sha256=$4 dir
    for dir in "${cache_dirs[@]}"; do
        if [ -f "$dir/$archive" ]; then
            found=$dir/$archive
            break
        fi
    done
    if [ -z "$found" ]; then
        download "$package" "$archive"
        found=$download_dir/$archive
    fi
    local actual
    actual=$(sha256_of "$found")
    [ "$actual" = "$sha256" ] ||
        fail "$found is not the pinned source of $name: its SHA-256 is $actual but third-party/lock says $sha256; remove the file and run again."
}

unpack() {
    local name=$1 package=$2 archive=$3 sha256=$4
    local patches=() patch
    for patch in "$top"/*/"$name"-*.patch; do
        [ -f "$patch" ] && patches+=("$patch")
    done
    local stamp=$work/$name.stamp want
    want="$archive $sha256 $(cat "${patches[@]}" /dev/null | sha256sum | cut -d' ' -f1)"
    if [ -d "$work/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    local found=
    locate "$name" "$package" "$archive" "$sha256"
    rm -rf "$work/$name" "$work/$name.new" "$stamp"
    mkdir "$work/$name.new"
    tar -xf "$found" -C "$work/$name.new" --strip-components=1 --no-same-owner ||
        fail "could not unpack $found."
    for patch in "${patches[@]}"; do
        patch --quiet -d "$work/$name.new" -p1 <"$patch" || fail "$(basename "$patch") does not apply to $name."
    done
    mv "$work/$name.new" "$work/$name"
    echo "$want" >"$stamp"
    say "$name unpacked"
}

# One fetch at a time in a build folder.
exec 8>"$work/fetch.lock"
flock 8

wanted=" $* "
while read -r name package archive sha256 licence; do
    case $name in '' | '#'*) continue ;; esac
    if [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]]; then
        unpack "$name" "$package" "$archive" "$sha256"
    fi
done <"$here/lock"
