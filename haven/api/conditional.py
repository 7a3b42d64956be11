"""ETags from the version of a row, and the conditions clients put on them (RFC 9110, section 13)."""

from __future__ import annotations

import re
import zlib
from typing import Any

from flask import Response, request

from haven.api.encoding import encode
from haven.errors import VersionMismatch

_TAG = re.compile(r'"(\d{1,9})(?:-[0-9a-f]{8})?"')


def etag(row: dict[str, Any], derived: tuple[str, ...] = ()) -> str:
    """The row's ETag: its version, and a checksum of what is counted from other rows (``derived``)."""
    if not derived:
        return f'"{row["version"]}"'
    checksum = zlib.crc32(encode([row[name] for name in derived]))
    return f'"{row["version"]}-{checksum:08x}"'


def not_modified(tag: str) -> Response | None:
    """The 304 that ``If-None-Match`` asks for, where ``tag`` is one of those it names."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return None
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return Response(status=304, headers={"ETag": tag}) if tag in named or "*" in named else None


def expected_version() -> int | None:
    """The version that ``If-Match`` demands; None where anything will do.

    Raises:
        VersionMismatch: the header names no version at all, so it cannot match.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    match = _TAG.fullmatch(header.strip())
    if match is None:
        raise VersionMismatch('If-Match must be one ETag as it was received, such as "3".')
    return int(match[1])
