#!/bin/bash
# Sets a new store up on another port, as the image does, then starts it.
set -eu
[ "$1" = influxd ] || exec "$@"
if [ "${DOCKER_INFLUXDB_INIT_MODE:-}" = setup ] && [ ! -e "$INFLUXD_BOLT_PATH" ]; then
    value() { local file=DOCKER_INFLUXDB_INIT_$1_FILE plain=DOCKER_INFLUXDB_INIT_$1; cat "${!file:-/dev/null}"; printf %s "${!plain:-}"; }
    INFLUXD_HTTP_BIND_ADDRESS=:9999 influxd & server=$!
    trap 'rm -rf "$INFLUXD_BOLT_PATH" "$INFLUXD_ENGINE_PATH"' EXIT
    until influx ping --host http://127.0.0.1:9999 > /dev/null 2>&1; do kill -0 $server; sleep 0.5; done
    influx setup --host http://127.0.0.1:9999 --force --username "$(value USERNAME)" --password "$(value PASSWORD)" \
        --org "$(value ORG)" --bucket "$(value BUCKET)" --token "$(value ADMIN_TOKEN)" \
        ${DOCKER_INFLUXDB_INIT_RETENTION:+--retention "$DOCKER_INFLUXDB_INIT_RETENTION"} > /dev/null
    trap - EXIT
    kill $server
    wait $server || true
    sed -i 's#127.0.0.1:9999#127.0.0.1:8086#' "$INFLUX_CONFIGS_PATH"
fi
exec "$@"
