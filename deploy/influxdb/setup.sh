#!/usr/bin/env bash
# Makes of a set-up InfluxDB 2 what this product needs, with the admin token that nothing else uses: two buckets, the
# down-sampling task, and a token each for the scorer and for Grafana. Safe to run again; `influx` is InfluxDB's CLI.
#   setup.sh ADMIN_TOKEN_FILE TASK_FILE SCORER_TOKEN_FILE GRAFANA_TOKEN_FILE
# InfluxDB chooses a token's value and tells it once, so the files made here are the only place where it stands.
set -euo pipefail
INFLUX_TOKEN=$(cat "$1")
export INFLUX_TOKEN INFLUX_ORG=risk
task=$2 scorer_token=$3 grafana_token=$4
raw_days=${RAW_DAYS:-30} long_days=${LONG_DAYS:-400}

# id_of KIND NAME: the id in the row of `influx KIND list` whose second column is NAME; nothing when there is none.
id_of() {
    influx "$1" list --hide-headers | awk -F '\t+' -v name="$2" '{ gsub(/ +$/, "", $2) } $2 == name { print $1 }'
}

bucket() { # NAME DAYS
    local id
    id=$(id_of bucket "$1")
    if [ -n "$id" ]; then
        influx bucket update --id "$id" --retention "${2}d" > /dev/null
    else
        influx bucket create --name "$1" --retention "${2}d" > /dev/null
    fi
}

token() { # FILE DESCRIPTION PERMISSIONS...
    local file=$1 description=$2 id ids value
    shift 2
    ids=$(id_of auth "$description")
    if [ -s "$file" ] && [ -n "$ids" ]; then
        echo "token '$description': kept"
        return
    fi
    for id in $ids; do # nobody knows its value any more
        influx auth delete --id "$id" > /dev/null
    done
    value=$(influx auth create --description "$description" "$@" --json | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
    [ -n "$value" ] || { echo "InfluxDB gave no token '$description'" >&2; exit 1; }
    (umask 077 && printf '%s' "$value" > "$file.new")
    chmod 444 "$file.new" # readers are other users; each file lies in a volume that only its reader mounts
    mv -f "$file.new" "$file"
    echo "token '$description': made"
}

bucket risk "$raw_days"
bucket risk_long "$long_days"
risk=$(id_of bucket risk) long=$(id_of bucket risk_long)

task_id=$(id_of task risk_long)
if [ -n "$task_id" ]; then
    influx task update --id "$task_id" --file "$task" > /dev/null
else
    influx task create --file "$task" > /dev/null
fi

token "$scorer_token" "scorer: writes risk" --write-bucket "$risk"
token "$grafana_token" "grafana: reads risk and risk_long" --read-bucket "$risk" --read-bucket "$long"
