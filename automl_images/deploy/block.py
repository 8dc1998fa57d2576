"""The experiment's block ``serve``: where a model is served, and with how much."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from automl_images.sweep.schema import Block, Whole


class Toleration(Block):
    """A Kubernetes toleration."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None
    toleration_seconds: Whole | None = None


class Serve(Block):
    """How the model is served."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    to: Literal["manifest", "kserve", "kubernetes"] = Field(
        "manifest",
        description="manifest: KServe's InferenceService as a file; kserve: it is applied to the cluster; kubernetes: "
        "a Deployment, Service and HorizontalPodAutoscaler are.",
    )
    name: str | None = Field(None, pattern="[A-Za-z0-9]", description="null: the experiment's name.")
    namespace: str | None = Field(
        None, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63, description="null: that of who applies."
    )
    resources: dict[Literal["requests", "limits"], dict[str, str]] | None = Field(
        None, description="Kubernetes' requests and limits of the server, such as limits: {cpu: '2'}."
    )
    gpus: Whole = Field(0, ge=0, description="nvidia.com/gpu a replica; another accelerator goes into resources.")
    min_replicas: Whole = Field(1, ge=0, description="0: none while nobody asks, by KServe with Knative.")
    max_replicas: Whole | None = Field(
        None, ge=1, description="null: what KServe has by itself; with to: kubernetes as many as min_replicas."
    )
    secret: str | None = Field(
        None, description="With the store's keys; for oci:// what pulls the image. null: the account has access."
    )
    service_account: str | None = Field(None, description="Of the server's pods; null: the namespace's default.")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)
    timeout_seconds: Whole = Field(900, ge=10, description="To be ready in; else what ran before runs again.")

    @model_validator(mode="after")
    def _can_be_scaled(self) -> Self:
        if self.to == "kubernetes" and not self.min_replicas:
            raise ValueError("min_replicas: 0 needs KServe with Knative; with to: kubernetes give 1 or more")
        if self.max_replicas and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is less than min_replicas {self.min_replicas}")
        given = self.resources or {}
        if self.gpus and any("nvidia.com/gpu" in amounts for amounts in given.values()):
            raise ValueError("gpus and nvidia.com/gpu in resources both say how many; give one of the two")
        scales = self.to == "kubernetes" and (self.max_replicas or 0) > self.min_replicas
        if scales and self.resources and not any("cpu" in amounts for amounts in given.values()):
            raise ValueError("max_replicas scales by the share of requested CPUs; give cpu among resources, too")
        return self
