"""What makes an entry unreachable the moment something it was computed from changes.

Each tag of an owner has a generation, a random token in Redis, and the tokens of all its tags are part of an entry's key.
Clearing a tag deletes its token; the next reader makes another. Tokens, not counters: a counter that is lost (evicted,
flushed) begins again and meets entries of its first life.

A writer **announces** what it changed before it commits and **settles** after. In between the token is a hold, ``!…``, under
which nobody reads or stores. A writer that dies in between leaves its hold, which ends by itself after ``HOLD_S``; what
follows is a new token. So no commit, not even one whose process was killed at once, leaves an old entry reachable.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import hiredis

from extensions.caching.keys import Keys
from extensions.caching.link import Link, Script

HOLD_S: Final = 60
"""Longer than any COMMIT takes. Until then what a dead writer announced is read without the cache."""
_LIFE_S: Final = 8 * 86_400
"""Longer than any entry lives; an idle tag's token may go."""
_HELD: Final = b"!"

_ANNOUNCE: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, key in ipairs(KEYS) do
  local holds = {}
  for hold, ends in string.gmatch(redis.call('GET', key) or '', '((%d+)-%w+)') do
    if tonumber(ends) > now then holds[#holds + 1] = hold end
  end
  holds[#holds + 1] = string.format('%.0f', now + ARGV[2]) .. '-' .. ARGV[1]
  redis.call('SET', key, '!' .. table.concat(holds, ','), 'PX', ARGV[2])
end
""")
_SETTLE: Final = Script("""
for _, key in ipairs(KEYS) do
  local value = redis.call('GET', key) or ''
  local holds = {}
  if string.sub(value, 1, 1) == '!' then
    for hold, token in string.gmatch(value, '(%d+-(%w+))') do
      if token ~= ARGV[1] then holds[#holds + 1] = hold end
    end
  end
  if #holds == 0 then redis.call('DEL', key)
  else redis.call('SET', key, '!' .. table.concat(holds, ','), 'KEEPTTL') end
end
""")
# What is held gets a new token anyway, when its writer has settled.
_CLEAR: Final = Script("""
for _, key in ipairs(KEYS) do
  if string.sub(redis.call('GET', key) or '', 1, 1) ~= '!' then redis.call('DEL', key) end
end
""")


def new_token() -> str:
    """A token that no other is like."""
    return secrets.token_hex(8)


class Question(NamedTuple):
    """The command that reads the generations of some tags, and which server was known before it was sent."""

    name: str
    server: str | None
    command: bytes


class Generations:
    """The generations of all owners, in Redis. Every method may raise ``Unavailable``."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def read(
        self, owner: str, tags: Sequence[str], entry: str | None = None
    ) -> tuple[str | None, bytes | None]:
        """The version that ``tags`` are at, and what is stored at the key ``entry``, in one round trip.

        The version is None while one of the tags is held, or the server has just changed: the cache is not to be used.
        """
        names = [self._keys.generation(owner, tag) for tag in tags]
        before = self._link.server(names[0])
        asked = [*names, entry] if entry else names
        tokens: list[bytes | None] = self._link.run(lambda client: client.mget(asked))
        stored = tokens.pop() if entry else None
        if None in tokens:
            tokens = self._make(names, tokens)
        return self._version(names[0], before, tokens), stored

    def question(self, owner: str, tags: Sequence[str]) -> Question:
        """``read`` in two halves, for whoever sends its command together with others."""
        names = [self._keys.generation(owner, tag) for tag in tags]
        command = hiredis.pack_command(("MGET", *names))  # type: ignore[arg-type]  # its stub knows one part
        return Question(names[0], self._link.server(names[0]), command)

    def asked_now(self, question: Question) -> Question:
        """The same question, with the server that is known now."""
        server = self._link.server(question.name)
        return question if server == question.server else Question(question.name, server, question.command)

    def is_at(self, version: str, question: Question, answer: Any) -> bool:
        """Whether the answer to a question tells this version, in which, as it was read before, nothing is held."""
        if not isinstance(answer, list) or None in answer:
            return False
        after = self._link.server(question.name)
        return question.server in (None, after) and _digest(after, answer) == version

    def _version(self, name: str, before: str | None, tokens: Sequence[bytes | None]) -> str | None:
        after = self._link.server(name)
        if before not in (None, after) or any(token is None or token[:1] == _HELD for token in tokens):
            return None
        return _digest(after, [token for token in tokens if token])

    def announce(self, owner: str, tags: Iterable[str], token: str) -> None:
        """Hold the tags until ``settle`` with the same token."""
        names = self._names(owner, tags)
        self._link.call(_ANNOUNCE, names, token, int(HOLD_S * 1000))

    def settle(self, owner: str, tags: Iterable[str], token: str) -> None:
        """What was announced has happened (or not): a new generation begins, once nobody else holds the tag."""
        names = self._names(owner, tags)
        self._link.call(_SETTLE, names, token)

    def clear(self, owner: str, tags: Iterable[str]) -> None:
        """Begin a new generation of each tag."""
        names = self._names(owner, tags)
        self._link.call(_CLEAR, names)

    def _names(self, owner: str, tags: Iterable[str]) -> list[str]:
        return [self._keys.generation(owner, tag) for tag in sorted(set(tags))]

    def _make(self, names: list[str], tokens: Sequence[bytes | None]) -> list[bytes | None]:
        """The tokens with those made that are missing; of several who make one the first counts."""
        missing = [name for name, token in zip(names, tokens, strict=True) if token is None]

        def make(client: object) -> list[bytes | None]:
            pipe = client.pipeline(transaction=False)  # type: ignore[attr-defined]
            for name in missing:
                pipe.set(name, new_token(), nx=True, ex=_LIFE_S)
            pipe.execute()
            found: list[bytes | None] = client.mget(names)  # type: ignore[attr-defined]
            return found

        return self._link.run(make)


def _digest(server: str | None, tokens: Sequence[bytes]) -> str:
    return hashlib.blake2b(b",".join([(server or "").encode(), *tokens]), digest_size=10).hexdigest()
