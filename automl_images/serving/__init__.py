"""The score file's run, the server and the Kubernetes manifests of a model."""
