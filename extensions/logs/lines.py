"""The one line of each request, written without a logger's chain where that chain would change nothing."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

LOGGER: Final = "haven.request"
_NAMES: Final = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

log = structlog.get_logger(LOGGER)
_logger: Final = logging.getLogger(LOGGER)
_root: Final = logging.getLogger()


def write(level: int, event: str, fields: dict[str, Any]) -> None:
    """Log ``event``. ``fields`` are JSON, and hold no secret: they are written as they are. They are the line's from here on.

    The usual chain costs several times the line itself. It is taken where somebody else listens, or a person reads.
    """
    if not _logger.isEnabledFor(level):
        return
    handler = _only_handler()
    if handler is None:
        log.log(level, event, **fields)
        return
    fields |= {"event": event, "level": _NAMES[level], "logger": LOGGER, "timestamp": datetime.now(UTC)}
    line = orjson.dumps(fields, option=_OPTIONS)
    with handler.lock:
        # Past the layer that encodes text: it is in UTF-8, and what was written by that layer has been flushed.
        stream = getattr(handler.stream, "buffer", None)
        if stream is None:
            handler.stream.write(line.decode())
            stream = handler.stream
        else:
            stream.write(line)
        stream.flush()


def _only_handler() -> Any:
    """Haven's handler, if it writes JSON and there is no other."""
    handlers = _root.handlers
    is_alone = len(handlers) == 1 and not _logger.handlers and getattr(handlers[0], "writes_json", False)
    return handlers[0] if is_alone else None
