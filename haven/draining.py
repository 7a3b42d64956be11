"""Leaving politely: before it stops, a web server says that it is not ready, so that traffic goes elsewhere first."""

from __future__ import annotations

import mmap
from typing import Final

_ON: Final = 1


class Drain:
    """One flag that the processes of a web server share; made before they fork, on when the first is told to stop."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    @property
    def is_on(self) -> bool:
        return self._shared[0] == _ON

    def begin(self) -> None:
        """From now on ``/ready`` is 503 and each answer closes its connection, in every process."""
        self._shared[0] = _ON
