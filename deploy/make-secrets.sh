#!/bin/sh
# Makes the secrets that compose.yaml mounts; one that is there already stays. make-secrets.sh [FOLDER]
# A container's user is not the owner of these files, so the folder, which only its owner may enter, keeps them.
set -eu
folder=${1:-secrets}

# Puts what comes in as the secret $1 of mode $2.
put() {
    (umask 077 && cat > "$folder/$1.new")
    chmod "${2:-444}" "$folder/$1.new"
    mv -f "$folder/$1.new" "$folder/$1"
    echo "$folder/$1 made"
}

# The same, unless there is one.
keep() {
    if [ -s "$folder/$1" ]; then echo "$folder/$1 is there already"; else put "$@"; fi
}

mkdir -p "$folder/service"
chmod 700 "$folder"
chmod 755 "$folder/service" # the container's user enters this one
echo '*' > "$folder/.gitignore"
for name in influxdb_admin_password influxdb_admin_token grafana_admin_password; do
    od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n' | keep $name
done
# The service's first token is for you to read; the service itself gets only its hash, in place of that of a token before.
tokens=$folder/service/tokens
if [ -s "$folder/service_token" ] && [ -e "$tokens" ]; then
    echo "$folder/service_token is there already"
else
    od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' | keep service_token 400
    hash=$(sha256sum < "$folder/service_token" | cut -d ' ' -f 1)
    others=$(if [ -e "$tokens" ]; then grep -v '"name": *"first"' "$tokens" || :; fi)
    printf '%s\n{"name":"first","sha256":"%s","regions":[]}\n' "$others" "$hash" | sed '/^$/d' | put service/tokens 644
fi
no_webhook=http://127.0.0.1:9/no-webhook-set
printf %s "$no_webhook" | keep grafana_alert_webhook 644
if [ "$(cat "$folder/grafana_alert_webhook")" = "$no_webhook" ]; then
    echo "alerts reach nobody yet: write your webhook's address into $folder/grafana_alert_webhook, restart grafana"
fi
