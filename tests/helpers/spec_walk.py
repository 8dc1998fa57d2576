"""Walks a compiled pipeline and resolves every reference in it."""

import re

_PLACEHOLDER = re.compile(r"inputs\.parameters\[['\"](.+?)['\"]\]")


def unresolved(spec, platform=None):
    """Return a line for each reference of a task, loop, executor or platform setting that has no producer."""
    executors = (
        (platform or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    )
    found = []

    def dag(name, component):
        inputs, tasks = component.get("inputDefinitions", {}), component["dag"]["tasks"]
        for task_name, task in tasks.items():
            where, used = f"{name}.{task_name}", spec["components"][task["componentRef"]["name"]]
            for kind, single in (("parameters", "Parameter"), ("artifacts", "Artifact")):
                given = task.get("inputs", {}).get(kind, {})
                for key, value in given.items():
                    refer(f"{where}.{key}", value, kind, single, inputs, tasks, task)
                wanted = used.get("inputDefinitions", {}).get(kind, {})
                item = task.get("parameterIterator", {}).get("itemInput")
                missing = {k for k, d in wanted.items() if not d.get("isOptional")} - given.keys() - {item}
                found.extend(f"{where}: is not given {key}" for key in sorted(missing))
            if "parameterIterator" in task:
                source = task["parameterIterator"]["items"].get("inputParameter")
                if source and source not in task["inputs"]["parameters"]:
                    found.append(f"{where}: loops over {source}, which it is not given")
                if task["parameterIterator"]["itemInput"] not in used["inputDefinitions"]["parameters"]:
                    found.append(f"{where}: its body does not take the item")
            found.extend(f"{where}: waits for {n}" for n in task.get("dependentTasks", []) if n not in tasks)
            if "dag" in used:
                dag(where, used)
            else:
                settings = [
                    spec["deploymentSpec"]["executors"][used["executorLabel"]],
                    executors.get(used["executorLabel"]),
                ]
                has = task.get("inputs", {}).get("parameters", {})
                found.extend(f"{where}: its settings use {n}" for n in sorted(set(named(settings)) - has.keys()))
        for key, value in component["dag"].get("outputs", {}).get("parameters", {}).items():
            chosen = value["valueFromParameter"]
            if not produces(tasks, chosen["producerSubtask"], "parameters", chosen["outputParameterKey"]):
                found.append(f"{name}: its output {key} has no producer")

    def refer(where, value, kind, single, inputs, tasks, task):
        if own := value.get(f"componentInput{single}"):
            if own not in inputs.get(kind, {}):
                found.append(f"{where}: {own} is no input of its DAG")
        elif made := value.get(f"taskOutput{single}"):
            producer = made["producerTask"]
            if not produces(tasks, producer, kind, made[f"output{single}Key"]):
                found.append(f"{where}: {producer} has no such output")
            elif producer not in task.get("dependentTasks", []):
                found.append(f"{where}: does not wait for {producer}")
        elif "runtimeValue" not in value:
            found.append(f"{where}: comes from nowhere")

    def produces(tasks, producer, kind, key):
        if producer not in tasks:
            return False
        component = spec["components"][tasks[producer]["componentRef"]["name"]]
        return key in component.get("outputDefinitions", {}).get(kind, {})

    dag("root", spec["root"])
    return found


def named(value):
    """Yield the parameters that settings of an executor name."""
    if isinstance(value, dict):
        if isinstance(value.get("componentInputParameter"), str):
            yield value["componentInputParameter"]
        for inner in value.values():
            yield from named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from named(inner)
    elif isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
