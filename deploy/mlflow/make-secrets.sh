#!/bin/sh
# Makes the login of MLflow's server, and what signs its sessions; what is there stays. make-secrets.sh [FOLDER]
# The server and the client read one file, each its own names.
set -eu
folder=${1:-secrets}
random() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
mkdir -p "$folder"
chmod 700 "$folder"
umask 033
if [ ! -s "$folder/mlflow_login" ]; then
    password=$(random)
    cat > "$folder/mlflow_login" <<EOF
[mlflow]
admin_username = admin
admin_password = $password
default_permission = NO_PERMISSIONS
database_uri = sqlite:////mlflow/auth.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
mlflow_tracking_username = admin
mlflow_tracking_password = $password
EOF
fi
[ -s "$folder/mlflow_session_key" ] || random > "$folder/mlflow_session_key"
