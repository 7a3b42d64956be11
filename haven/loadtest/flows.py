"""What people wait for, by the names under which it is counted: scenarios count it, targets are about it."""

from __future__ import annotations

from typing import Final

OPENING: Final = "open the dashboard"
PAYING: Final = "pay until PAID"
LOADING: Final = "load 1,200 tenants by a job"
REMOVING: Final = "remove 1,200 tenants by a job"
CHANGING: Final = "change 100 units at once"
BULK: Final = (LOADING, REMOVING, CHANGING)

PAGING: Final = "/properties"
"""No flow: the route of a page of properties."""
