"""The experiment's block ``cluster``: where a pipeline is submitted, and what the pods of its steps are given."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from automl_images.annotations.reachable import lies_in
from automl_images.environment import IMAGE, SHARED
from automl_images.experiment import Bytes, Cpu
from automl_images.steps import GPU, LIGHT, SERVE, STEPS
from automl_images.sweep.schema import Block

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]  # of a Kubernetes object
Key = Annotated[str, Field(pattern=r"^[-._A-Za-z0-9]+$", max_length=253)]  # of a config map or secret
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Qualified = Annotated[  # a label's or annotation's name
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
Label = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]

CACHE, CERTIFICATES = "/cache", "/etc/automl-images/certificates"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
_SCRATCH = "/tmp"  # noqa: S108
_OURS = (
    CACHE,
    _SCRATCH,
    "/dev",
    "/etc",
    "/gcs",
    "/home/app",
    "/kfp-launcher",
    "/minio",
    "/proc",
    "/s3",
    "/sys",
    "/usr",
)
_NO_PRIORITY = (
    "priority_class cannot be given to a run: Kubeflow Pipelines 2.17 has no field for it in a package. For all runs, "
    'set COMPILED_PIPELINE_SPEC_PATCH of its API server to {"podPriorityClassName": ...}; with Kueue, give the label '
    "kueue.x-k8s.io/priority-class in labels"
)


class Images(Block):
    """The container images."""

    light: str = Field(LIGHT, min_length=1)
    gpu: str = Field(GPU, min_length=1)
    serve: str = Field(SERVE, min_length=1)


class Held(Block):
    """A config map or a secret."""

    config_map: Name | None = None
    secret: Name | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.config_map) == bool(self.secret):
            raise ValueError("name a config_map or a secret, one of the two")
        return self


class Authorities(Held):
    """Certificates of the authorities that pods trust, in place of those of the image."""

    key: Key = Field("ca-bundle.crt", description="Which of its entries has the certificates (PEM).")


class Variables(Held):
    """Environment variables from a config map or a secret, which must be there."""

    keys: dict[Key, Variable] = Field(min_length=1, description="{its entry: the variable's name}.")


class Volume(Block):
    """A volume claim with data."""

    claim: Name
    path: str = Field(
        "/data", pattern=r"^/[^:]*$", description="Where every step has it; data and weights name what is below it."
    )
    sub_path: str = Field("", pattern=r"^([^/].*)?$", description="A folder of the claim, in place of all of it.")

    @model_validator(mode="after")
    def _has_a_place_of_its_own(self) -> Self:
        path = PurePosixPath(self.path)
        taken = next((o for o in _OURS if path.is_relative_to(o) or PurePosixPath(o).is_relative_to(path)), None)
        if taken or ".." in path.parts:
            raise ValueError(f"path: {self.path} is no free place in a pod" + (f": {taken} is there" if taken else ""))
        return self

    def holds(self, address: str) -> bool:
        """Return whether an address is a path, or in an archive at a path, on the volume."""
        return lies_in(address, self.path)


class Amounts(Block):
    """Of a pod's CPUs and memory."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    cpu: Cpu | None = None
    memory: Bytes | None = None


class Pod(Block):
    """What one step's pod asks for and may use, where that is not by ``resources``."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


class Cluster(Block):
    """Where the pipeline is submitted, and what its pods are given. Kubeflow's own drivers are given none of it."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    namespace: str = "kubeflow"
    endpoint: str | None = Field(None, description="The address of the Kubeflow Pipelines API; null: found by kfp.")
    service_account: str | None = None
    images: Images = Images()
    image_pull_secrets: list[Name] = Field(default_factory=list, description="Secrets that pull the images.")
    secret: str | None = Field(
        "mlpipeline-minio-artifact", description="A secret with accesskey and secretkey of the object store."
    )
    object_store: str | None = Field(
        None, description="The object store's S3 address for pods; null: with a secret Kubeflow's own."
    )
    region: str | None = Field(None, pattern=r"^[a-z0-9-]+$", description="The object store's region, for S3.")
    cache_volume: str | None = Field(None, description="A volume claim that keeps downloaded weights.")
    data_volume: Volume | None = Field(
        None,
        description="A volume claim with the data, which steps only read; a claim that is ReadOnlyMany makes sure of "
        "it, because Kubeflow mounts none read-only.",
    )
    labels: dict[Qualified, Label] = Field(
        default_factory=dict, description="Of each step's pod, such as kueue.x-k8s.io/queue-name: team."
    )
    annotations: dict[Qualified, str] = Field(default_factory=dict, description="Of each step's pod.")
    environment: dict[Variable, str] = Field(
        default_factory=dict,
        description="Variables of each step, such as HTTPS_PROXY. They are in the package: no keys.",
    )
    environment_from: list[Variables] = Field(default_factory=list, description="Variables that are kept elsewhere.")
    ca_bundle: Authorities | None = Field(
        None, description=f"Mounted in each step, and named by {', '.join(CA_VARIABLES)}."
    )
    steps: dict[Literal[STEPS], Pod] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="{step: its requests and limits}; a limit replaces that of resources."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_priority(cls, content: Any) -> Any:
        if isinstance(content, dict) and "priority_class" in content:
            raise ValueError(_NO_PRIORITY)
        return content

    @model_validator(mode="after")
    def _sets_a_variable_once(self) -> Self:
        set_by = dict.fromkeys((IMAGE, SHARED), "each step itself")
        fields = {"secret": KEYS.values(), "region": REGION_VARIABLES, "ca_bundle": CA_VARIABLES}
        set_by |= {name: f"cluster.{f}" for f, names in fields.items() if getattr(self, f) for name in names}
        if self.object_store or self.secret:
            set_by["AWS_ENDPOINT_URL"] = "cluster.object_store"
        if self.cache_volume:
            set_by["TORCH_HOME"] = "cluster.cache_volume"
        named = [(name, "environment") for name in self.environment]
        named += [
            (n, f"environment_from[{i}]") for i, each in enumerate(self.environment_from) for n in each.keys.values()
        ]
        for name, place in named:
            if name in set_by:
                raise ValueError(f"{place}: {name} is set by {set_by[name]}; give one of the two")
            set_by[name] = f"cluster.{place}"
        return self
