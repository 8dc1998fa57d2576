"""Mutated experiments are planned, or refused in one line; benchmarks/fuzz_experiments.py tries more."""

from benchmarks.fuzz_experiments import FAULTS, experiments


def test_mutated_experiments_end_in_one_line_and_leave_nothing():
    figures = experiments(60, seed=7)
    assert figures["planned"] >= 20 and figures["refused"] > 10
    assert {name: figures[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)
