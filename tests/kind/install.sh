#!/usr/bin/env bash
# Installs what the smoke run needs into the cluster: Kubeflow Pipelines, KServe; in the lane gpu, GPUs that are none.
#
#   tests/kind/install.sh [cpu|gpu]
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"

# source_of OWNER/NAME TAG FOLDER: the charts come from their sources
source_of() { [[ -d $3 ]] || git clone --quiet --depth 1 --branch "$2" "https://github.com/$1" "$3"; }

say "Kubeflow Pipelines $PIPELINES_VERSION"
manifests=github.com/kubeflow/pipelines/manifests/kustomize
kubectl apply -k "$manifests/cluster-scoped-resources?ref=$PIPELINES_VERSION"
kubectl wait crd/applications.app.k8s.io --for condition=established --timeout=60s
kubectl apply -k "$manifests/env/platform-agnostic?ref=$PIPELINES_VERSION"

say "cert-manager $CERT_MANAGER_VERSION, which KServe needs"
kubectl apply -f "https://github.com/cert-manager/cert-manager/releases/download/$CERT_MANAGER_VERSION/cert-manager.yaml"
kubectl -n cert-manager wait deployment --all --for condition=Available --timeout=300s

say "KServe $KSERVE_VERSION, without Knative and without an ingress"
source_of kserve/kserve "$KSERVE_VERSION" "$WORK/kserve"
helm upgrade --install kserve-crd "$WORK/kserve/charts/kserve-crd" --namespace kserve --create-namespace --wait
helm upgrade --install kserve-resources "$WORK/kserve/charts/kserve-resources" \
  --namespace kserve --wait --timeout 10m \
  --set kserve.controller.deploymentMode=Standard \
  --set kserve.controller.gateway.disableIngressCreation=true

if [[ ${1:-cpu} == gpu ]]; then
  say "fake GPUs $FAKE_GPU_VERSION"
  kubectl label nodes --all --overwrite "$POOL"
  source_of run-ai/fake-gpu-operator "v$FAKE_GPU_VERSION" "$WORK/fake-gpu-operator"
  helm package "$WORK/fake-gpu-operator/deploy/fake-gpu-operator" --destination "$WORK" \
    --version "$FAKE_GPU_VERSION" --app-version "$FAKE_GPU_VERSION" # a release has its version in the chart, a tag not
  helm upgrade --install fake-gpu-operator "$WORK/fake-gpu-operator-$FAKE_GPU_VERSION.tgz" \
    --namespace gpu-operator --create-namespace --wait --timeout 5m --set topology.nodePools.default.gpuCount=2
  kubectl wait nodes --all --for 'jsonpath={.status.allocatable.nvidia\.com/gpu}=2' --timeout=300s
fi

say "waiting for Kubeflow Pipelines" # last: its images come meanwhile
kubectl -n kubeflow wait deployment --all --for condition=Available --timeout=900s
