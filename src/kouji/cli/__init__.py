"""The command line: thin commands over the library, and the one place that prints and exits."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises for a wrong command."""
    from kouji.cli.boundary import run_command

    return run_command(list(arguments))


def main() -> None:
    """The console script `kouji`."""
    sys.exit(run(sys.argv[1:]))
