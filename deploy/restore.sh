#!/bin/sh
# Puts a back-up of back-up.sh in the place of what is there, which it deletes. Run it in the folder of compose.yaml, on the
# version that the back-up is of: restore.sh [FOLDER]
set -eu
folder=${1:-backup}
refuse() {
    echo "$1, so nothing was deleted: name the folder of a back-up, restore.sh FOLDER" >&2
    exit 1
}
[ -s "$folder/state.tgz" ] || refuse "there is no back-up in $folder"
for file in "$folder"/*.tgz; do
    gzip -t "$file" || refuse "$file is damaged"
done
for kept in secrets .env data; do
    if [ -e "$folder/$kept" ]; then cp -af "$folder/$kept" .; fi
done
project=$(docker compose config | sed -n 's/^name: *//p')
docker compose create # where a file or an image is missing it ends here, and the volumes are still there
docker compose down --volumes
docker compose create
for file in "$folder"/*.tgz; do
    volume=${project}_$(basename "$file" .tgz)
    docker run --rm --user 0 --entrypoint tar -i -v "$volume:/to" influxdb:2.9.1 xz -C /to < "$file"
done
docker compose up --detach
