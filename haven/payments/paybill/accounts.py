"""Account numbers as people type them: ``g-70``, ``G 70`` and ``G7O`` all mean the unit whose reference is ``G70``.

The database folds each unit's reference in the same way (``unit.account_key``), so that one index finds it.
"""

from __future__ import annotations

import re
from typing import Final

_NOT_PART: Final = re.compile(r"[^A-Za-z0-9]", re.ASCII)
_LOOKALIKES: Final = str.maketrans("OI", "01")


def stripped(typed: str) -> str:
    """What was typed, in upper case and without spaces, dashes and dots: ``"g-7o"`` is ``"G7O"``."""
    return _NOT_PART.sub("", typed).upper()


def folded(typed: str) -> str:
    """As ``stripped``, with O written as nought and I as one: ``"g-7o"`` is ``"G70"``."""
    return stripped(typed).translate(_LOOKALIKES)
