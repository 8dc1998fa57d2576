"""The steps as Kubeflow components: one folder each, with its contract; the work is the library's."""
