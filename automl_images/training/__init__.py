"""Fit one trial."""
