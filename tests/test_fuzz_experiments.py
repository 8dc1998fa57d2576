"""Mutated experiments are planned, or refused in one line; benchmarks/fuzz_experiments.py tries more."""

from benchmarks.fuzz_experiments import experiments


def test_mutated_experiments_end_in_one_line_and_leave_nothing():
    figures = experiments(60, seed=7)
    assert figures["planned"] > 2 and figures["refused"] > 20
    assert {name: figures[name] for name in ("tracebacks", "hangs", "partial_outputs", "escapes")} == {
        "tracebacks": 0,
        "hangs": 0,
        "partial_outputs": 0,
        "escapes": 0,
    }
