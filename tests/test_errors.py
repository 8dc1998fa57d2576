"""The line on a full disk."""

import errno
import os
from pathlib import Path

import pytest

from automl_images.errors import DiskFullError, explain_full_disk


def fail(*arguments):
    raise OSError(*arguments)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk")
def test_a_full_disk_is_one_line():
    with pytest.raises(DiskFullError, match="^no space left on the disk; free some"), explain_full_disk():
        Path("/dev/full").write_text("five")


def test_a_spent_quota_is_the_same_line():
    with pytest.raises(DiskFullError, match="^no space left on the disk; free some"), explain_full_disk():
        fail(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_the_file_is_named_if_it_is_known():
    with pytest.raises(DiskFullError, match=r"^a\.jsonl: no space left"), explain_full_disk():
        fail(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.jsonl")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), explain_full_disk():
        (tmp_path / "none").read_text()
    with pytest.raises(ZeroDivisionError), explain_full_disk():
        print(1 / 0)
