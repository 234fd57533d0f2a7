#!/bin/sh
# Puts Docker's compose plugin into a folder, as docker-compose: get-compose.sh FOLDER
# It is one file that needs no engine for `config`. Debian 13's package of it also runs on Debian 12, whose own is too
# old. Does nothing, and says so, where there is no apt-get.
set -eu
folder=$(cd "$1" && pwd)
if [ -x "$folder/docker-compose" ]; then
    exit 0
fi
if ! command -v apt-get > /dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    echo "no Debian here: checks that need docker-compose are skipped unless it is on PATH" >&2
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# The mirror that this machine is set up for.
mirror=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)
cat > "$work/debian.sources" << END
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
get() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/debian.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
cd "$work"
get update
get download docker-compose
dpkg-deb -x docker-compose_*.deb "$work/files"
install -m 755 "$work/files/usr/libexec/docker/cli-plugins/docker-compose" "$folder/docker-compose"
