"""One function a step: what the components and the commands both call."""
