"""register: a version of the model under a name."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def register(
    name: str,
    model: dsl.Input[dsl.Model],
    registered: dsl.Output[dsl.Model],
    registry: str = "",
    evaluation: str = "",
    minimum: str = "",
    promote: str = "if_better",
    experiment: str = "",
    iterations: int = 0,
    model_name: str = "",
    epochs: int = 0,
) -> str:
    """Register a model folder under a name and the next version.

    Args:
        name: the name to register under.
        model: a model folder, as train and select write it; the version names where it lies.
        registered: the version as JSON (name, version, uri), in its metadata too. The artifact's own URI stays in the
            run's folder, because Kubeflow's launcher refuses to upload any other.
        registry: the registry's address; empty: beside the ledgers, or in the bucket of this pipeline's artifacts.
        evaluation: what evaluate returned; empty: the model folder's own figures, of validation.
        minimum: the least value of the primary metric, a number; a model below it is refused. empty or null: none is.
        promote: when it becomes champion: if_better (than the champion on the same test set), always or never.
        experiment: the experiment as JSON, for the lineage.
        iterations: as plan was given it.
        model_name: as plan was given it.
        epochs: as plan was given it.

    Returns:
        name, version, uri, aliases, and promotion (why it became champion or did not), as JSON.
    """
    import json

    from automl_images.steps.inputs import experiment_of, figures_of, least_value, parsed
    from automl_images.steps.repeat import bucket_root, model_folder, step

    folder = model_folder(model)
    with step("register"):
        lineage = parsed("the model's lineage", model.metadata.get("lineage", "{}"))
        figures, least = figures_of(evaluation, folder), least_value(minimum)
        if experiment:
            lineage["experiment"] = experiment_of(experiment, "", iterations, model_name, epochs)
    ledgers = lineage.get("ledger", "").rpartition("/ledgers/")[0]
    target = registry or (ledgers or bucket_root(registered.uri)) + "/registry"
    options = ["--registry", target, "--metrics", "-", "--lineage", json.dumps(lineage)]
    options += ["--promote", promote, *([] if least is None else ["--minimum", minimum])]
    with step("register", [folder, name, *options], stdin=json.dumps(figures)):
        from automl_images.steps.register import register_model
        from automl_images.storage import redact

        result = register_model(folder, name, target, figures, lineage, least, promote)
        told = {"name": name, "version": result["version"], "uri": redact(result["uri"])}
        registered.metadata.update(told)
        with open(registered.path, "w") as file:  # noqa: PTH123
            json.dump(told, file)
        return json.dumps(result)
