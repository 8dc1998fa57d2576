"""serve: what serves the model on Kubernetes."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def serve(
    name: str,
    model: str,
    image: str,
    options: str,
    manifest: dsl.Output[dsl.Artifact],
) -> str:
    """Serve a model on Kubernetes: write its manifest and a smoke request and, where serve.to says so, apply it.

    Args:
        name: the service's name.
        model: JSON with the model folder's address under uri (what register returned) or model (what select did).
        image: the container image that serves.
        options: JSON of the experiment's block serve; applied are its kserve and kubernetes, by the pod's account.
        manifest: the folder with the manifest, request.json and smoke.sh.

    Returns:
        The paths of what was written, and deployed: what the cluster serves now, as JSON.
    """
    import json
    import os

    from automl_images.environment import IMAGE
    from automl_images.steps.repeat import address, step

    described = json.loads(model)
    folder = described.get("uri") or described["model"]
    how = {key: value for key, value in json.loads(options).items() if key != "name"}
    to = how.get("to", "manifest")
    own = os.environ.get(IMAGE)  # this step's image, which can copy a model into a pod
    words = ["--to", to, "--image", image, *(["--fetcher", own] if own and to == "kubernetes" else [])]
    words += ["--options", json.dumps({key: value for key, value in how.items() if key != "to"})]
    with step("serve", [folder, name, address(manifest), *words]):
        from automl_images.steps.serve import serve_model

        return json.dumps(serve_model(folder, name, how, output=manifest.path, image=image, fetcher=own))
