#!/bin/sh
# Copies what compose.yaml's services keep into a folder that only its owner may enter; they stand still meanwhile. It holds
# secrets and events. The back-up before stays until this one is whole. Run it in the folder of compose.yaml:
# back-up.sh [FOLDER]
set -eu
umask 077
whole=${1:-backup}
whole=${whole%/}
folder=$whole.new
project=$(docker compose config | sed -n 's/^name: *//p')
volumes=$(docker volume ls --quiet --filter "label=com.docker.compose.project=$project")
if [ -z "$project" ] || [ -z "$volumes" ]; then
    echo "the project '$project' has no volume here, so nothing was copied or stopped" >&2
    exit 1
fi
rm -rf "$folder"
mkdir -p "$folder"
trap 'docker compose start' EXIT # also when the disk is full
docker compose stop
for kept in secrets .env data; do # data: where SCORER_ARTIFACTS=./data/artifacts puts your region
    if [ -e $kept ]; then cp -a $kept "$folder/"; fi
done
for volume in $volumes; do
    file=$folder/${volume#"${project}_"}.tgz
    docker run --rm --user 0 --entrypoint tar -v "$volume:/from:ro" influxdb:2.9.1 cz -C /from . > "$file"
done
rm -rf "$whole"
mv "$folder" "$whole"
trap - EXIT
docker compose start
