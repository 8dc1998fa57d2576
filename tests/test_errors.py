"""The line on a full disk."""

import errno
import os
from pathlib import Path

import pytest

from automl_images.errors import DiskFullError, disk_full_said

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk")


def fail(*arguments):
    raise OSError(*arguments)


@pytest.mark.parametrize(
    "write",
    [
        lambda: Path("/dev/full").write_text("five"),
        lambda: fail(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    ],
)
def test_a_full_disk_is_one_line(write):
    with pytest.raises(DiskFullError, match="^no space left on the disk; free some"), disk_full_said():
        write()


def test_the_file_is_named_if_it_is_known():
    with pytest.raises(DiskFullError, match=r"^a\.jsonl: no space left"), disk_full_said():
        fail(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.jsonl")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), disk_full_said():
        (tmp_path / "none").read_text()
    with pytest.raises(ZeroDivisionError), disk_full_said():
        print(1 / 0)
