"""register: a version of the model under a name."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def register(
    name: str,
    registry: str,
    chosen: str,
    evaluation: str,
    experiment: str,
    minimum: str,
    promote: str,
    model: dsl.Output[dsl.Model],
) -> str:
    """Register the chosen model's folder under a name and the next version.

    Args:
        name: the name to register under.
        registry: the registry's address; empty: beside the ledgers.
        chosen: what select returned.
        evaluation: what evaluate returned.
        experiment: the experiment as JSON, for the lineage.
        minimum: the least value of the primary metric, a JSON number; a model below it is refused. null: none is.
        promote: when it becomes champion: if_better (than the champion on the same test set), always or never.
        model: the registered version as JSON (name, version, uri), in its metadata too. The artifact's own URI stays
            in the run's folder, because Kubeflow's launcher refuses to upload any other.

    Returns:
        name, version, uri, aliases, and promotion (why it became champion or did not), as JSON.
    """
    import json

    from automl_images.steps.repeat import step

    best, figures = json.loads(chosen), json.loads(evaluation)
    target = registry or best["ledger"].rpartition("/ledgers/")[0] + "/registry"
    lineage = {"ledger": best["ledger"], "run": best["run"], "trial": best["trial"], "epoch": best["epoch"]}
    lineage |= {"settings": best["settings"], "experiment": json.loads(experiment)}
    least = json.loads(minimum)
    options = ["--registry", target, "--metrics", "-", "--lineage", json.dumps(lineage)]
    options += ["--promote", promote, *([] if least is None else ["--minimum", minimum])]
    with step("register", [best["model"], name, *options], stdin=json.dumps(figures)):
        from automl_images.steps.register import register_model
        from automl_images.storage import redact

        result = register_model(best["model"], name, target, figures, lineage, least, promote)
        told = {"name": name, "version": result["version"], "uri": redact(result["uri"])}
        model.metadata.update(told)
        with open(model.path, "w") as file:  # noqa: PTH123
            json.dump(told, file)
        return json.dumps(result)
