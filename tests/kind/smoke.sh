#!/usr/bin/env bash
# The whole pipeline on Kubernetes: a kind cluster of its own, Kubeflow Pipelines, our images, one experiment, KServe.
#
#   tests/kind/smoke.sh [cpu|gpu]      gpu: on nodes that pretend to have GPUs
#
# Needs docker, kind, kubectl, helm, curl, git, about 40 GB of disk, and the images (make images).
# KEEP=1 leaves the cluster; run again, what is there is used. Logs of a failure: $WORK/logs (runs/smoke-kind/logs).
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"

lane=${1:-cpu}
case $lane in cpu | gpu) ;; *) fail "lane '$lane': write cpu or gpu" ;; esac
for tool in docker kind kubectl helm curl git; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done
command -v "$PYTHON" >/dev/null || fail "there is no $PYTHON; make setup first"
cd "$ROOT"
read -r -a images <<<"$("$PYTHON" -c 'from automl_images import steps as i; print(i.LIGHT, i.GPU, i.SERVE)')"
for image in "${images[@]}"; do
  docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image; make images first"
done

finish() {
  local status=$?
  if ((status)); then "$HERE/logs.sh" "$WORK/logs" || true; fi
  stop_forwards
  if [[ ${KEEP:-} != 1 ]]; then kind delete cluster --name "$CLUSTER" >&2 || true; fi
  exit "$status"
}
trap finish EXIT

say "cluster $CLUSTER"
kind get clusters 2>/dev/null | grep -qxF "$CLUSTER" || kind create cluster --name "$CLUSTER" --config "$HERE/cluster.yaml" --wait 180s
kind export kubeconfig --name "$CLUSTER"

say "images ${images[*]}"
for image in "${images[@]}"; do kind load docker-image --name "$CLUSTER" "$image"; done # each as a file for a while

"$HERE/install.sh" "$lane"

forward service/ml-pipeline kubeflow "$API_PORT" 8888
forward service/seaweedfs kubeflow "$STORE_PORT" 9000
use_store

say "the pipeline"
"$HERE/submit.sh" "$lane"
"$PYTHON" "$HERE/check.py" model "$STORAGE/registry" smoke
if [[ $lane == gpu ]]; then
  kubectl -n kubeflow get pods -l workflows.argoproj.io/workflow -o json >"$WORK/pods.json"
  kubectl get nodes -o json >"$WORK/nodes.json"
  "$PYTHON" "$HERE/check.py" pods "$STORAGE/registry" smoke "$WORK/pods.json" "$WORK/nodes.json" "$POOL"
fi

say "the served model"
"$HERE/serve.sh"
say "all is well"
