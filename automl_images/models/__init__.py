"""The architectures, their weights, and the model folder."""
