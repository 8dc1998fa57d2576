"""A sweep on an S3 server that fails in the middle finishes every trial once; benchmarks/store_faults.py fails more."""

import pytest

from benchmarks.store_faults import TRIALS, finished_once, proxied

pytest.importorskip("s3fs")


@pytest.mark.full
@pytest.mark.parametrize(("fault", "amount"), [("away 5 s", 5.0), ("503 for 30 %", 0.3), ("1 s a listing", 1.0)])
def test_every_trial_is_finished_once(tmp_path, fault, amount):
    with proxied() as proxy:
        assert finished_once(proxy, fault, amount, tmp_path) == TRIALS
