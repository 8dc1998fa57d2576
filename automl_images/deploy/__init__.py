"""A model on Kubernetes: what it needs there, applied, waited for, asked once, and undone if it fails."""
