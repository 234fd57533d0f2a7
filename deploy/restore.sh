#!/bin/sh
# Puts a back-up of back-up.sh in the place of what is there, which it deletes. Run it in the folder of compose.yaml, on the
# version that the back-up is of: restore.sh [FOLDER]
set -eu
folder=${1:-backup}
if [ ! -s "$folder/incident-risk-scorer_state.tgz" ]; then
    echo "there is no back-up in $folder, so nothing was deleted: name its folder, restore.sh FOLDER" >&2
    exit 1
fi
for kept in secrets .env data; do
    if [ -e "$folder/$kept" ]; then cp -af "$folder/$kept" .; fi
done
docker compose down --volumes
docker compose create
for file in "$folder"/*.tgz; do
    volume=$(basename "$file" .tgz)
    docker run --rm --user 0 --entrypoint tar -i -v "$volume:/to" influxdb:2.9.1 xz -C /to < "$file"
done
docker compose up --detach
