"""HTTP of the command itself: who signs in, prepares, reads how Haven does. None of it is measured."""

from __future__ import annotations

import time
from typing import Any, Final, Self

import httpx

from haven.benchmarking.errors import CannotMeasure
from haven.loadtest.site import SignIn

API: Final = "/api/v1"
_TIMEOUT_S: Final = 30.0
_PATIENCE_S: Final = 180.0
"""Longest wait for a place within a rate limit."""


class Caller:
    """Somebody who has signed in, once, and signs out at the end."""

    def __init__(self, host: str, sign_in: SignIn) -> None:
        self.email = sign_in.email
        self._http = httpx.Client(base_url=f"{host}{API}", timeout=_TIMEOUT_S)
        body = {"email": sign_in.email, "password": sign_in.password}
        try:
            self._http.headers["Authorization"] = (
                f"Bearer {_token(host, self.ask('POST', '/auth/login', body))}"
            )
        except BaseException:
            self._http.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask("POST", "/auth/logout")
        except CannotMeasure:
            pass
        finally:
            self._http.close()

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer, as JSON says it; None where there is none to say. Waits where a rate limit says so.

        Raises:
            CannotMeasure: it is no success, or there is none in time.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise CannotMeasure(f"{method} {path} failed: {type(error).__name__}: {error}.") from None
            wait_s = float(answer.headers.get("Retry-After", 1))
            if answer.status_code != 429 or time.monotonic() + wait_s > deadline:
                break
            time.sleep(wait_s)
        if answer.is_success:
            return _json(method, path, answer)
        raise CannotMeasure(f"{method} {path} was answered with {answer.status_code}: {_reason(answer)}")

    def pages(self, path: str, most: int) -> list[dict[str, Any]]:
        """The first ``most`` rows of a list, about; ``path`` has its filters and its limit."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while len(found) < most:
            page = self.get(f"{path}{cursor}")
            found += page["data"]
            if not page["pagination"]["has_more"]:
                break
            cursor = f"&cursor={page['pagination']['next_cursor']}"
        return found[:most]


def _token(host: str, answer: Any) -> str:
    if not isinstance(answer, dict) or "access_token" not in answer:
        raise CannotMeasure(f"{host} signs nobody in: is that a Haven?")
    return str(answer["access_token"])


def _json(method: str, path: str, answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise CannotMeasure(f"{method} {path} was not answered in JSON: is that a Haven?") from None


def _reason(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return answer.text[:200]
