"""serve: what serves the model on Kubernetes."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def serve(
    name: str,
    model: str,
    image: str,
    resources: str,
    manifest: dsl.Output[dsl.Artifact],
) -> str:
    """Write a KServe InferenceService and a smoke request; nothing is sent to a cluster.

    Args:
        name: the InferenceService's name.
        model: JSON with the model folder's address under uri (what register returned) or model (what select did).
        image: the container image that serves.
        resources: JSON with Kubernetes' requests and limits of the container; may be null.
        manifest: the folder with inferenceservice.yaml, request.json and smoke.sh.

    Returns:
        The paths of what was written, as JSON.
    """
    import json

    from automl_images.steps.repeat import address, step

    described = json.loads(model)
    folder = described.get("uri") or described["model"]
    limits = json.loads(resources) or None
    options = ["--image", image, *(["--resources", resources] if limits else [])]
    with step("serve", [folder, name, address(manifest), *options]):
        from automl_images.steps.serve import serve_manifest

        return json.dumps(serve_manifest(folder, name, manifest.path, image=image, resources=limits))
