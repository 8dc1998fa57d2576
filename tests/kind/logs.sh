#!/usr/bin/env bash
# Collects what tells why a run failed: nodes, events, workflows, InferenceServices, and every pod's state and log.
#
#   tests/kind/logs.sh FOLDER
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"
into=${1:?name a folder}
mkdir -p "$into"

k() { kubectl --request-timeout=30s "$@"; }
k get nodes -o wide >"$into/nodes.txt" 2>&1 || true
k describe nodes >>"$into/nodes.txt" 2>&1 || true
k get events --all-namespaces --sort-by=.lastTimestamp >"$into/events.txt" 2>&1 || true
k get pods --all-namespaces -o wide >"$into/pods.txt" 2>&1 || true
k -n kubeflow get workflows.argoproj.io -o yaml >"$into/workflows.yaml" 2>&1 || true
k -n serving get inferenceservices.serving.kserve.io -o yaml >"$into/inferenceservices.yaml" 2>&1 || true
cp "$WORK/port-forward.log" "$into/" 2>/dev/null || true

for namespace in kubeflow serving kserve cert-manager gpu-operator; do
  k -n "$namespace" describe pods >"$into/$namespace-pods.txt" 2>&1 || true
  while read -r pod; do
    k -n "$namespace" logs "$pod" --all-containers --prefix --tail=2000 >"$into/$namespace-${pod#pod/}.log" 2>&1 || true
  done < <(k -n "$namespace" get pods -o name 2>/dev/null || true)
done
df -h >"$into/disk.txt" 2>&1 || true
say "logs: $into"
