"""The programs that run beside the servers, as data: what is started, and how one knows that it is ready."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from haven.supervisor import Program

CHECKOUT: Final = Path(__file__).parent.parent


@dataclass(frozen=True)
class Places:
    """Where everything of one stack is."""

    url: str
    database_url: str
    owner_url: str
    redis_url: str
    mpesa_url: str
    has_simulator: bool


Programs = Callable[[Places, Mapping[str, str]], Sequence[Program]]
"""From the places and the environment to the programs."""


def haven_programs(places: Places, settings: Mapping[str, str]) -> list[Program]:
    """The programs of Haven itself, as they are run on a platform too (see Procfile)."""

    def program(name: str, *arguments: str, url: str = "", ready_path: str = "") -> Program:
        return Program(
            name=name,
            argv=[sys.executable, "-m", *arguments],
            env=settings,
            cwd=CHECKOUT,
            ready=(lambda: answers(url + ready_path)) if url else None,
            address=url,
        )

    programs = [
        program("web", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app", url=places.url, ready_path="/ready"),
        program("worker", "workers"),
        program("cron", "workers.cron"),
    ]
    if places.has_simulator:
        port = str(urlsplit(places.mpesa_url).port)
        arguments = ("haven", "mpesa-simulator", "--host", "127.0.0.1", "--port", port)
        simulator = program(
            "mpesa-simulator", *arguments, url=places.mpesa_url, ready_path="/simulator/health"
        )
        programs.append(replace(simulator, env={**settings, **_hears_of_sms(places, settings)}))
    return programs


def _hears_of_sms(places: Places, settings: Mapping[str, str]) -> dict[str, str]:
    """Where the simulated SMS gateway posts its delivery reports: an address that holds a secret, so no argument."""
    from haven.notifications.delivery_reports import PATH, token  # with it come all tables

    return {"SMS_CALLBACK_URL": f"{places.url}{PATH}/{token(settings['SECRET_KEY'])}"}


def answers(url: str) -> bool:
    """Whether a GET of this address is answered with success within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 (our own address)
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
