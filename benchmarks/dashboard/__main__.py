"""``python -m benchmarks.dashboard``: what the figures of a month cost, computed, as payments grow; and what that costs payments."""

from __future__ import annotations

from dataclasses import replace

import click

from benchmarks.dashboard import reads, writes
from haven.demo.sizes import SIZES, Size
from tests.support.servers import ThrowAwayServers

_AGENCY = Size(agencies=1, months=24, units_per_property=(24, 60), invoices=50_000, payments=60_000)
"""One agency of the large demo: some 2,100 leases."""
_FAMILIES = {
    # The agency that is looked at has 2,000 leases and 2,500 payments in its month; what grows is all the rest.
    "more history and more agencies": {
        "12,000": replace(_AGENCY, months=5, invoices=10_000, payments=12_000),
        "120,000": replace(_AGENCY, agencies=2),
        "1,200,000": SIZES["large"],
    },
    # Twenty agencies for two years; what grows is how many leases each has, and so what happens in a month.
    "more leases": {
        "12,000": replace(_AGENCY, agencies=20, invoices=500, payments=600),
        "120,000": replace(_AGENCY, agencies=20, invoices=5_000, payments=6_000),
        "1,200,000": SIZES["large"],
    },
}


@click.group()
def main() -> None:
    """What the dashboard costs."""


@main.command("reads")
@click.option(
    "--rounds", default=25, show_default=True, help="Times that each is computed; medians are told."
)
@click.option("--small", is_flag=True, help="Only what has 12,000 and 120,000 payments.")
def read(rounds: int, *, small: bool) -> None:
    """The figures computed cold, with 12 thousand, 120 thousand and 1.2 million payments."""
    families = {
        name: {size: one for size, one in sizes.items() if not small or size != "1,200,000"}
        for name, sizes in _FAMILIES.items()
    }
    servers = ThrowAwayServers()
    try:
        reads.measure(servers.start(), families, rounds)
    finally:
        servers.stop()


@main.command("writes")
@click.option("--rounds", default=5, show_default=True, help="Times that each is run; medians are told.")
@click.option("--each", default=40, show_default=True, help="Payments over each of the 32 connections.")
def write(rounds: int, each: int) -> None:
    """Payments a second with the dashboard's indexes, without them, and with a summary kept by triggers instead."""
    servers = ThrowAwayServers()
    try:
        writes.measure(servers.start(), rounds, each)
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
