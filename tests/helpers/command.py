"""A command of ``python -m pipelines``, in this process."""

import sys

from pipelines import __main__ as command


def call(monkeypatch, capsys, *arguments):
    """Return the command's exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["pipelines", *map(str, arguments)])
    code = 0
    try:
        command.main()
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()
