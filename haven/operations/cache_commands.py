"""``haven cache``: clearing, warming and reading the cache from a shell."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from haven.operations.cache import TARGETS

if TYPE_CHECKING:
    from haven.runtime import Runtime

_agency = click.option("--agency", "slug", help="Only this agency, by its slug.  [default: every one]")


@click.group()
def cache() -> None:
    """Clear, warm and read the cache."""


@cache.command()
@_agency
@click.argument("pattern", default="*")
def clear(slug: str | None, pattern: str) -> None:
    """Clear what is like PATTERN (`units:*`); everything, if none is given. For after changes made by hand in SQL."""
    runtime, agencies = _start(slug)
    for agency_id in agencies:
        runtime.cache.clear_pattern(str(agency_id), pattern)
    click.echo(f"Cleared {pattern} of {len(agencies)} agencies.")


@cache.command()
@_agency
@click.argument("targets", nargs=-1, type=click.Choice(TARGETS))
def warm(slug: str | None, targets: tuple[str, ...]) -> None:
    """Compute the first page of each of TARGETS; of all lists and the dashboard, if none is given."""
    import haven.app  # noqa: F401  it knows every one
    from haven.api import warming

    runtime, agencies = _start(slug)
    lives = runtime.settings.flask_config()
    pages = sum(
        warming.warm(runtime.cache, runtime.engine, agency_id, targets or TARGETS, lives)
        for agency_id in agencies
    )
    click.echo(f"Computed {pages} pages of {len(agencies)} agencies.")


@cache.command()
def stats() -> None:
    """Show how often the cache answered, by namespace."""
    from extensions.caching.statistics import ALL

    runtime, _ = _start(None)
    for namespace, numbers in runtime.cache.statistics.read(ALL).items():
        rate = "-" if numbers.hit_rate is None else f"{numbers.hit_rate:.1%}"
        click.echo(f"{namespace:12} {rate:>7} hit  {numbers.hits} hits  {numbers.misses} misses")


def _start(slug: str | None) -> tuple[Runtime, list[uuid.UUID]]:
    """The runtime, and the agencies meant."""
    from sqlalchemy import select

    import haven.models  # noqa: F401
    from config import load_settings
    from haven.db.base import PLATFORM
    from haven.db.session import tenant_session
    from haven.identity.models import Agency
    from haven.runtime import Runtime as Started

    runtime = Started.start(load_settings())
    found = select(Agency.id) if slug is None else select(Agency.id).where(Agency.slug == slug)
    with tenant_session(runtime.engine, PLATFORM, "cli", is_platform=True) as session:
        agencies: list[uuid.UUID] = list(session.execute(found).scalars())
    if not agencies:
        raise click.ClickException(f"There is no agency {slug!r}.")
    return runtime, agencies
