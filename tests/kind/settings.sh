# shellcheck shell=bash
# Versions, names and functions that the scripts beside this file share. To be sourced.
# shellcheck disable=SC2034 # used by those who source it

PIPELINES_VERSION=2.17.0
CERT_MANAGER_VERSION=v1.17.0
KSERVE_VERSION=v0.20.0
FAKE_GPU_VERSION=0.0.69
CLUSTER=${CLUSTER:-automl-images-smoke}
API_PORT=${API_PORT:-38888}
STORE_PORT=${STORE_PORT:-39000}
SERVING_PORT=${SERVING_PORT:-38080}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
WORK=${WORK:-$ROOT/runs/smoke-kind} # what the run leaves, logs included
mkdir -p "$WORK"
export KUBECONFIG=$WORK/kubeconfig # never the caller's: no command here reaches another cluster

STORAGE=s3://mlpipeline/smoke # in the bucket that Kubeflow Pipelines makes
POOL=run.ai/simulated-gpu-node-pool=default

say() { echo "== $*" >&2; }
fail() {
  echo "error: $*" >&2
  exit 2
}

# forward TARGET NAMESPACE PORT REMOTE: keeps a port of the cluster open on this machine until stop_forwards.
forwards=()
forward() {
  (
    child=
    trap 'kill $child 2>/dev/null; exit' TERM
    while :; do
      kubectl -n "$2" port-forward --address 127.0.0.1 "$1" "$3:$4" &
      child=$!
      wait "$child" || true
      sleep 1 # it ends when its pod does
    done
  ) >>"$WORK/port-forward.log" 2>&1 &
  forwards+=($!)
  local try
  for ((try = 0; try < 60; try++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null && return
    sleep 1
  done
  fail "$1 of namespace $2 does not answer on port $3"
}

stop_forwards() {
  if ((${#forwards[@]})); then kill "${forwards[@]}" 2>/dev/null || true; fi
}

# use_store: takes the object store's keys from the cluster's secret, for this script's children.
use_store() {
  AWS_ACCESS_KEY_ID=$(store_key accesskey)
  AWS_SECRET_ACCESS_KEY=$(store_key secretkey)
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION=us-east-1
  export AWS_ENDPOINT_URL=http://127.0.0.1:$STORE_PORT
}

store_key() { kubectl -n kubeflow get secret mlpipeline-minio-artifact -o "jsonpath={.data.$1}" | base64 -d; }
