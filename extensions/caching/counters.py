"""Whole numbers that many processes add to at once."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from extensions.caching.cache import Cache
from extensions.caching.keys import Place
from extensions.caching.link import Script, Unavailable
from extensions.caching.values import HEAD_BYTES, Entry, pack, to_json

_INCREMENT: Final = Script("""
local stored = redis.call('GET', KEYS[1])
if not stored then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  return ARGV[2]
end
local number = string.match(string.sub(stored, ARGV[4] + 1), '^-?%d+$')
if not number then return false end
number = string.format('%.0f', number + ARGV[2])
redis.call('SET', KEYS[1], string.sub(stored, 1, ARGV[4]) .. number, 'KEEPTTL')
return number
""")


def increment(cache: Cache, place: Place, by: int, ttl_s: float) -> int | None:
    """Add to the number that ``set_exactly`` stored there, in one step; ``by`` itself where there is none.

    The number then; None where Redis could not do it. Like all in a cache it may be gone at any time.

    Raises:
        TypeError: what is stored there is no whole number.
    """
    if not cache.rules.is_on:
        return None
    first = Entry(time.time(), ttl_s, 0, b"", to_json(by))
    arguments = (pack(first, cache.rules.compress_from), by, first.life_ms(0), HEAD_BYTES)
    with contextlib.suppress(Unavailable):
        version, _ = cache.generations.read(place.owner, place.every_tag())
        if version is None:
            return None
        key = cache.keys.entry(place, version)
        number = cache.link.run(lambda client: _INCREMENT(client, [key], *arguments))
        if number is None:
            raise TypeError(f"what is stored at {place.key!r} is no whole number")
        return int(number)
    return None
