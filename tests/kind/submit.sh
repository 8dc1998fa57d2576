#!/usr/bin/env bash
# Submits the smoke experiment with sample data and follows it to its end.
#
#   tests/kind/submit.sh [cpu|gpu]      gpu: each lane asks for a GPU of the pool, and tolerates its taint
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"

overrides=(
  --set "data.training.source=$WORK/sample"
  --set "storage=$STORAGE"
  --set sweep.timeout_hours=1
  --set settings.number_of_epochs=12 # of fewer images
  --set settings.evaluation_frequency=12
)
if [[ ${1:-cpu} == gpu ]]; then
  overrides+=(
    --set resources.count=1
    --set "resources.node_selector={${POOL%%=*}: ${POOL#*=}}"
    --set 'resources.tolerations=[{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]'
  )
fi

cd "$ROOT"
[[ -d $WORK/sample ]] || "$PYTHON" -m automl_images.cli sample-data "$WORK/sample" --images 48 --size 96
"$PYTHON" -m pipelines submit pipelines/experiments/smoke.yaml --host "http://127.0.0.1:$API_PORT" --local-images \
    "${overrides[@]}"
