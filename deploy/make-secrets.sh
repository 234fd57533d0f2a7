#!/bin/sh
# Makes the secrets that compose.yaml mounts; one that is there already stays. make-secrets.sh [FOLDER]
# A container's user is not the owner of these files, so the folder, which only its owner may enter, keeps them.
set -eu
folder=${1:-secrets}

# Keeps what comes in as the secret $1 of mode $2, unless there is one.
keep() {
    if [ -s "$folder/$1" ]; then
        echo "$folder/$1 is there already"
        return
    fi
    (umask 077 && cat > "$folder/.$1.new")
    chmod "${2:-444}" "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
    echo "$folder/$1 made"
}

mkdir -p "$folder"
chmod 700 "$folder"
echo '*' > "$folder/.gitignore"
for name in influxdb_admin_password influxdb_admin_token grafana_admin_password; do
    od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n' | keep $name
done
# The service's first token is for you to read; the service itself gets only its hash.
od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' | keep service_token 400
hash=$(sha256sum < "$folder/service_token" | cut -d ' ' -f 1)
printf '{"name":"first","sha256":"%s","regions":[]}\n' "$hash" | keep service_tokens
no_webhook=http://127.0.0.1:9/no-webhook-set
printf %s "$no_webhook" | keep grafana_alert_webhook 644
if [ "$(cat "$folder/grafana_alert_webhook")" = "$no_webhook" ]; then
    echo "alerts reach nobody yet: write your webhook's address into $folder/grafana_alert_webhook, restart grafana"
fi
