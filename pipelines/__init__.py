"""The pipeline of an experiment and its life: run here, compile, submit."""
