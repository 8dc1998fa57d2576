"""``automl-images serve``: a model on Kubernetes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from automl_images.errors import UserError
from automl_images.registry import parse_address, resolve

app = typer.Typer()


def json_object(option: str, text: str) -> dict[str, Any]:
    """Return the JSON object that an option gives. UserError: it is none."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f'{option}: is not a JSON object; write {{"name": ...}}')
    return content


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="A model folder that the cluster reaches, or REGISTRY/NAME@ALIAS.")],
    name: Annotated[str | None, typer.Argument(help="The service's name; not given: the registered model's.")] = None,
    output: Annotated[str | None, typer.Argument(help="The folder to write the manifest and a request to.")] = None,
    to: Annotated[
        str, typer.Option(help="manifest: write files; kserve, or kubernetes (without KServe): apply to the cluster.")
    ] = "manifest",
    image: Annotated[str | None, typer.Option(help="The container image that serves.")] = None,
    fetcher: Annotated[
        str | None, typer.Option(help="To kubernetes: the image that copies the model into a pod.")
    ] = None,
    example: Annotated[str | None, typer.Option(help="An image for the request.")] = None,
    resources: Annotated[str, typer.Option(help="Kubernetes' requests and limits, a JSON object.")] = "{}",
    options: Annotated[
        str, typer.Option(help="More of the experiment's block serve, a JSON object, such as tolerations.")
    ] = "{}",
    namespace: Annotated[str | None, typer.Option(help="Not given: kubectl's own, or the pod's.")] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig; not given: the current one.")] = None,
    gpus: Annotated[int | None, typer.Option(help="nvidia.com/gpu a replica.")] = None,
    min_replicas: Annotated[int | None, typer.Option(help="0: none while nobody asks (KServe with Knative).")] = None,
    max_replicas: Annotated[int | None, typer.Option(help="At most so many, by load.")] = None,
    secret: Annotated[str | None, typer.Option(help="The secret with the store's keys.")] = None,
    service_account: Annotated[str | None, typer.Option(help="Of the server's pods.")] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds to be ready in, 900 if not given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the manifests; nothing is written or sent.")
    ] = False,
) -> None:
    """Serve a model on Kubernetes: write a manifest and a smoke request, or apply it and wait until it answers.

    What runs under the name is replaced, and runs again if the new version does not get ready.
    """
    from automl_images.steps import serve as step

    how: dict[str, Any] = {**json_object("--options", options), "to": to}
    how |= {"resources": limits} if (limits := json_object("--resources", resources)) else {}
    given = {
        "namespace": namespace,
        "gpus": gpus,
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "secret": secret,
        "service_account": service_account,
        "timeout_seconds": timeout,
    }
    how |= {key: value for key, value in given.items() if value is not None}
    folder = resolve(model)
    if name is None:
        if folder == model:
            raise UserError(f"serve: give a NAME after {model}; only a registered model has one")
        name = parse_address(model)[1]
    if dry_run:
        made = step.made_for(folder, name, step.read_block(how), image=image, fetcher=fetcher)
        return print(step.as_yaml(made), end="")
    if output is None and to == "manifest":
        raise UserError("serve: give OUTPUT, the folder to write to; or --to kserve | kubernetes; or --dry-run")
    images = {"image": image, "fetcher": fetcher}
    result = step.serve_model(folder, name, how, output=output, example=example, context=context, **images)
    print(json.dumps(result, indent=1))
