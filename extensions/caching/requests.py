"""The part of a key that tells one request's answer from another's."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from urllib.parse import parse_qsl

import orjson


@lru_cache(maxsize=8192)
def answer_key(audience: str, path: str, query: bytes, accept: str) -> str:
    """The key of an answer: as many as there are different answers, and no two requests with different ones share it.

    Args:
        audience: for whom the answer holds: role, permissions, and the user where it depends on him.
        query: the raw query string; the order of its parameters does not count, that of one parameter's values does.
    """
    pairs = sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True), key=lambda pair: pair[0])
    # JSON, so that no part can end where another begins.
    whole = orjson.dumps([audience, path, pairs, accept])
    return hashlib.blake2b(whole, digest_size=16).hexdigest()
