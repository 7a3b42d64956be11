"""Which tables a statement writes, from its text: whoever writes it, the ORM, Core or SQL by hand."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_NAME: Final = r'(?:"?\w+"?\s*\.\s*)?"?(\w+)"?'
_WRITES: Final = re.compile(
    rf"""\b(?:
        INSERT\s+INTO\s+
      | MERGE\s+INTO\s+(?:ONLY\s+)?
      | DELETE\s+FROM\s+(?:ONLY\s+)?
      | TRUNCATE\s+(?:TABLE\s+)?(?:ONLY\s+)?
      | (?<!FOR\s)(?<!KEY\s)(?<!DO\s)UPDATE\s+(?:ONLY\s+)?
      | COPY\s+(?=[\w."]+\s*(?:\([^)]*\)\s*)?FROM\b)
    ){_NAME}""",
    re.IGNORECASE | re.VERBOSE,
)
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_HINT: Final = re.compile(r"insert|update|delete|merge|truncate|copy", re.IGNORECASE)


@lru_cache(maxsize=4096)
def written_tables(statement: str) -> frozenset[str]:
    """The tables that a statement inserts into, updates, deletes from, merges into, truncates or copies to.

    It may name one too many (a word in a literal), never one too few: clearing too much is slow, too little is wrong.
    What a trigger or a cascading key writes is not in the text; the map of tables to tags says that.
    """
    if not _HINT.search(statement):
        return frozenset()
    return frozenset(name.lower() for name in _WRITES.findall(_COMMENT.sub(" ", statement)))
