"""serve: what serves the model on Kubernetes."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def serve(
    model: dsl.Input[dsl.Model],
    manifest: dsl.Output[dsl.Artifact],
    name: str = "model",
    image: str = "",
    options: str = "{}",
    version: str = "",
) -> str:
    """Serve a model on Kubernetes: write its manifest and a smoke request and, where serve.to says so, apply it.

    Args:
        model: a model folder, as train and select write it.
        manifest: the folder with the manifest, request.json and smoke.sh.
        name: the service's name.
        image: the container image that serves; empty: this version's.
        options: JSON of the experiment's block serve; applied are its kserve and kubernetes, by the pod's account.
        version: what register returned; it is served in place of the model.

    Returns:
        The paths of what was written, and deployed: what the cluster serves now, as JSON.
    """
    import json
    import os

    from automl_images.environment import IMAGE
    from automl_images.steps import SERVE
    from automl_images.steps.inputs import parsed, version_address
    from automl_images.steps.repeat import address, model_folder, step

    image = image or SERVE
    with step("serve"):
        folder = version_address(version) if version else model_folder(model)
        how = {key: value for key, value in parsed("options", options).items() if key != "name"}
    to = how.get("to", "manifest")
    own = os.environ.get(IMAGE)  # this step's image, which can copy a model into a pod
    words = ["--to", to, "--image", image, *(["--fetcher", own] if own and to == "kubernetes" else [])]
    words += ["--options", json.dumps({key: value for key, value in how.items() if key != "to"})]
    with step("serve", [folder, name, address(manifest), *words]):
        from automl_images.steps.serve import serve_model

        return json.dumps(serve_model(folder, name, how, output=manifest.path, image=image, fetcher=own))
