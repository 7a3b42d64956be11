"""What keeps benchmarks and load tests from being made or read, and how their commands end then."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from haven.stack_folder import StackError

CANNOT: Final = 3
"""The exit code where nothing could be measured: not to be taken for a regression, nor for a target that is missed."""
INTERRUPTED: Final = 130
"""That of a command which was stopped by Ctrl-C, as shells have it."""


class CannotMeasure(Exception):
    """Something that is needed is missing or failed; the message says what to do."""


@contextmanager
def said() -> Iterator[None]:
    """What cannot be done is told in a sentence, and ends the command."""
    try:
        yield
    except (CannotMeasure, StackError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(CANNOT)
    except KeyboardInterrupt:
        click.echo("Stopped: there is nothing to report.", err=True)
        sys.exit(INTERRUPTED)
