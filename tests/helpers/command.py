"""The command ``automl-images``, in this process."""

import io
import sys

from automl_images import cli


def call(monkeypatch, capsys, *arguments):
    """Return the exit code, standard output and standard error of ``automl-images``."""
    return _ran(cli.main, monkeypatch, capsys, arguments)


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
