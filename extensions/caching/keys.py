"""The one convention of keys: ``haven:{agency}:{namespace}:v{generation}:{key}``.

The braces around the owner (an agency) are written: they are Redis Cluster's hash tag, so all keys of an owner are on one
server and one command can read several of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOBODY: Final = "-"
"""The owner of what belongs to nobody."""
EVERYTHING: Final = "*"
"""The tag that every entry has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is: whose it is, of which kind, which one; and the tags that clear it."""

    owner: str
    namespace: str
    key: str
    tags: tuple[str, ...] = ()

    def every_tag(self) -> tuple[str, ...]:
        """Its own tags, its namespace's, and the one that all have."""
        return (EVERYTHING, namespace_tag(self.namespace), *self.tags)


def namespace_tag(namespace: str) -> str:
    return f"/{namespace}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one application. ``prefix`` keeps those of several on one Redis apart."""

    prefix: str = "haven"

    def generation(self, owner: str, tag: str) -> str:
        """Where the generation of a tag is kept."""
        return f"{self.prefix}:{{{owner}}}:generation:{tag}"

    def entry(self, place: Place, version: str) -> str:
        return f"{self.prefix}:{{{place.owner}}}:{place.namespace}:v{version}:{place.key}"

    def pattern(self, owner: str, namespace: str, key: str) -> str:
        """A glob for entries of every generation. The braces are no part of Redis's globs."""
        return f"{self.prefix}:{{{owner}}}:{namespace}:v*:{key}"

    def namespace_of(self, key: str) -> str:
        """The namespace in an entry's key."""
        return key.partition("}:")[2].partition(":")[0]

    def statistics(self, owner: str) -> str:
        return f"{self.prefix}:{{{owner}}}:statistics"

    def owners(self) -> str:
        """Who has used the cache, by when."""
        return f"{self.prefix}:cache-owners"


def lease(entry: str) -> str:
    """Where it is said who computes an entry."""
    return f"{entry}:lease"
