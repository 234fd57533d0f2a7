#!/bin/sh
# The registry's server: behind a login, one worker, without the job runner, which asks nobody for a password and takes
# a gigabyte.
set -eu
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat /run/secrets/mlflow_session_key)
export MLFLOW_FLASK_SERVER_SECRET_KEY
export MLFLOW_AUTH_CONFIG_PATH=/run/secrets/mlflow_login
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
exec mlflow server --app-name basic-auth --workers 1 --host 0.0.0.0 --port 5000 \
    --allowed-hosts mlflow:5000,localhost:5000,127.0.0.1:5000 \
    --backend-store-uri sqlite:////mlflow/mlflow.db --serve-artifacts --artifacts-destination /mlflow/files
