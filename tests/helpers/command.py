"""The commands ``python -m pipelines`` and ``automl-images``, in this process."""

import io
import sys

from automl_images import cli
from pipelines import __main__ as command


def call(monkeypatch, capsys, *arguments):
    """Return the exit code, standard output and standard error of ``python -m pipelines``."""
    return _ran(command.main, monkeypatch, capsys, arguments)


def call_step(monkeypatch, capsys, *arguments, given=None):
    """Return the exit code, standard output and standard error of ``automl-images``, which reads ``given``."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((given or "").encode())))
        return _ran(cli.main, patch, capsys, arguments)


def _ran(main, monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()
