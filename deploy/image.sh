#!/bin/sh
# Builds the scorer's image with labels that say where it comes from, starts it once, and writes its bill of materials:
# image.sh [NAME], by default incident-risk-scorer:VERSION. Needs git, and docker with BuildKit.
# SOURCE_URL: address of the repository, for its label; by default that of the remote `origin`.
# TORCH: cpu or cuda, as in the Dockerfile.
set -eu
cd "$(dirname "$0")/.."
of_project() { sed -n "/^\[project\]/,/^\[/s/^$1 = \"\(.*\)\"\$/\1/p" pyproject.toml; }
title=$(of_project name) version=$(of_project version) out=out/image
name=${1:-$title:$version}
revision=$(git rev-parse HEAD)
if [ -n "$(git status --porcelain)" ]; then
    revision=$revision-changed # what is built is not that commit
fi
# A CI's remote may hold a token, and a remote may be a folder of this machine: neither belongs into an image.
remote=$(git remote get-url origin 2> /dev/null | sed -n 's#^\(https\{0,1\}://\)\([^/@]*@\)\{0,1\}#\1#p')

set -- --file streaming/Dockerfile --build-arg "TORCH=${TORCH:-cpu}"
label=org.opencontainers.image
docker build "$@" --tag "$name" \
    --label "$label.title=$title" --label "$label.version=$version" --label "$label.licenses=$(of_project license)" \
    --label "$label.revision=$revision" --label "$label.created=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --label "$label.source=${SOURCE_URL:-$remote}" .
said=$(docker run --rm --network none --entrypoint python "$name" -m incident_risk --version)
if [ "$said" != "$title $version" ]; then
    echo "the image says '$said', and pyproject.toml says '$title $version'" >&2
    exit 1
fi
rm -rf "$out"
docker build "$@" --target bill --output "type=local,dest=$out" .
docker image inspect --format '{{json .Config.Labels}}' "$name" > "$out/labels.json"
echo "$name: $said, revision $revision. Its labels and bill of materials are in $out; nothing is pushed or signed"
