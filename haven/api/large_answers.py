"""Whole lists as NDJSON, within ``MAX_RESULT_ROWS`` and ``MAX_RESPONSE_BYTES``.

What is over either is refused before its first byte is sent, and told of the export that has no bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import IO, Final

from flask import Response, current_app, request
from sqlalchemy.orm import Session

from haven.api.cursors import read_cursor
from haven.api.encoding import check_size, encode, instead
from haven.api.listing import Listing
from haven.errors import Invalid, TooLarge

NDJSON: Final = "application/x-ndjson"
_IN_MEMORY: Final = 1_048_576
_BLOCK: Final = 65_536
_PAGE: Final = 1000


def wants_rows() -> bool:
    """Whether the request at hand asks for the whole list, a row a line (``Accept: application/x-ndjson``)."""
    return request.accept_mimetypes.best_match(["application/json", NDJSON]) == NDJSON


def rows_answer(session: Session, listing: Listing) -> Response:
    """All rows that the filters of the request leave, in its order, a JSON object a line.

    They are read by pages into a file, which is sent as it is: memory does not grow with their number. As between pages of
    a list, a row that is changed meanwhile may be missed or come twice where that moves it in the order.

    Raises:
        Invalid: a parameter is wrong, or is for pages.
        TooLarge: there are more than ``MAX_RESULT_ROWS``, or they are longer than ``MAX_RESPONSE_BYTES``.
    """
    for name in ("limit", "cursor", "include_total"):
        if name in request.args:
            raise Invalid.field(name, f"is for pages: with Accept: {NDJSON} all rows are sent")
    query = replace(listing.parse(request.args), limit=_PAGE)
    rows = 0
    with ExitStack() as opened:
        file: IO[bytes] = opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
        while True:
            page = listing.page(session.connection(), query)
            rows += len(page.rows)
            file.write(b"".join(encode(row) + b"\n" for row in page.rows))
            _check(rows, file.tell())
            if page.next_cursor is None:
                break
            query = replace(query, cursor=read_cursor(page.next_cursor, query.sort))
        # From here on the answer closes it.
        return _sent(file, opened.pop_all().close)


def _check(rows: int, length: int) -> None:
    most: int = current_app.config["MAX_RESULT_ROWS"]
    if rows > most:
        raise TooLarge(f"The answer has more than {most:,} rows (MAX_RESULT_ROWS). {instead(request.path)}")
    check_size(length)


def _sent(file: IO[bytes], close: Callable[[], None]) -> Response:
    length = file.tell()
    file.seek(0)
    response = Response(_blocks(file.read), content_type=NDJSON)
    response.content_length = length
    response.call_on_close(close)
    return response


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK):
        yield block
