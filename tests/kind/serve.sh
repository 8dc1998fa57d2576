#!/usr/bin/env bash
# Serves the registered model with the manifest that the pipeline wrote, and checks what it answers.
# Needs the object store on this machine: see forward and use_store in settings.sh.
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"
[[ -n ${AWS_ENDPOINT_URL:-} ]] || {
  forward service/seaweedfs kubeflow "$STORE_PORT" 9000
  use_store
}
trap stop_forwards EXIT

cd "$ROOT"
served=$WORK/served
rm -rf "$served"
"$PYTHON" "$HERE/check.py" manifest "$STORAGE/registry" smoke s3://mlpipeline/v2/artifacts "$served"

say "credentials for KServe's download"
kubectl apply --server-side --force-conflicts -f "$HERE/serving.yaml"
kubectl -n serving create secret generic store --dry-run=client -o yaml \
  --from-file=AWS_ACCESS_KEY_ID=<(printf %s "$AWS_ACCESS_KEY_ID") \
  --from-file=AWS_SECRET_ACCESS_KEY=<(printf %s "$AWS_SECRET_ACCESS_KEY") | kubectl apply -f -
kubectl -n serving annotate secret store --overwrite serving.kserve.io/s3-endpoint=seaweedfs.kubeflow:9000 \
  serving.kserve.io/s3-usehttps=0 serving.kserve.io/s3-region=us-east-1

say "InferenceService smoke"
kubectl -n serving apply -f "$served/inferenceservice.yaml"
kubectl -n serving wait inferenceservice/smoke --for condition=Ready --timeout=900s
forward deployment/smoke-predictor serving "$SERVING_PORT" 8080

# in the image that trained: what serves is another
gpu=$("$PYTHON" -c 'from automl_images.steps import GPU; print(GPU)')
predictions() {
  docker run --rm --network none -v "$served:$served:ro" -v "$HERE:$HERE:ro" --entrypoint python3 "$gpu" \
    "$HERE/check.py" predictions "$served/model" "$1" "$2"
}

say "the pipeline's own smoke test, then a request of our own"
address=http://127.0.0.1:$SERVING_PORT
NAMESPACE=serving INGRESS=$address sh "$served/smoke.sh" | tee "$served/smoke.log"
curl --fail-with-body --silent --show-error --header 'Content-Type: application/json' \
  --data @"$served/request.json" "$address/v1/models/smoke:predict" >"$served/response.json"
predictions "$served/request.json" "$served/response.json"

"$PYTHON" "$HERE/check.py" request "$WORK/sample/JPEGImages" "$served/images.json"
curl --fail-with-body --silent --show-error --header 'Content-Type: application/json' \
  --data @"$served/images.json" "$address/v1/models/smoke:predict" >"$served/images-response.json"
predictions "$served/images.json" "$served/images-response.json"
