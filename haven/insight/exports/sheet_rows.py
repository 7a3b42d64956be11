"""Lines of ``COPY … (FORMAT text)`` to the rows of a sheet (ECMA-376 part 1, 18.3.1.73), and what XML and Excel do not let stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MOST_CHARACTERS: Final = 32_767
"""That a cell can hold, as Excel counts: in units of UTF-16, so that a picture is two."""
_NO_XML: Final = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20)])
"""Control characters that XML 1.0 cannot say, and that COPY leaves as they are or writes behind a backslash."""
_NO_CHARACTERS: Final = ("\ufffe".encode(), "\uffff".encode())
_UNSAID: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_LIKE_UNSAID: Final = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_COPIED: Final = re.compile(r"\\(.)")
_MEANT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Cell:
    """How a cell of a column is written: its column's letters and the row's number are put before and after ``opening``."""

    opening: str
    before: str
    after: str


class SheetRows:
    """Writes rows.

    Args:
        cells: of each column, in the order of the lines.
        texts: the same columns' cells where what is in them is text, with its blanks kept.
        numbers: which of the columns are of numbers (times, too, are numbers of days).
    """

    def __init__(self, cells: list[Cell], texts: list[Cell], numbers: list[bool]) -> None:
        self._cells = [(one.opening, one.before, one.after) for one in cells]
        self._texts = [(one.opening, one.before, one.after) for one in texts]
        self._numbers = numbers

    def xml(self, lines: list[str], first: int, *, is_odd: bool) -> str:
        """The rows of these lines, the first of them with the number ``first``.

        Args:
            is_odd: some character in them cannot be said in XML.
        """
        rows = []
        for number, line in enumerate(lines, first):
            rows.append(f'<row r="{number}">')
            if is_odd or _is_odd(line):
                rows.extend(self._odd(number, line))
            else:
                # No function is called for a cell: there are thirty million in a million rows.
                values = _escaped(line).split("\t")
                rows.extend(
                    [
                        f"{opening}{number}{before}{value}{after}"
                        for (opening, before, after), value in zip(self._cells, values, strict=True)
                        if value
                    ]
                )
            rows.append("</row>")
        return "".join(rows)

    def _odd(self, number: int, line: str) -> list[str]:
        found = []
        columns = zip(self._cells, self._texts, self._numbers, line.split("\t"), strict=True)
        for cell, text, is_number, value in columns:
            if not value:
                continue
            # A day that Excel does not count comes behind a blank, see ``Plan.cells``.
            is_text = not is_number or value.startswith(" ")
            opening, before, after = text if is_text else cell
            shown = _said(value.lstrip() if is_number else value)
            found.append(f"{opening}{number}{before}{shown}{after}")
        return found


def has_no_xml(block: bytes) -> bool:
    """Whether some character in it cannot be said in XML. Line ends and tabs between values are none of them."""
    return len(block.translate(None, _NO_XML)) != len(block) or any(one in block for one in _NO_CHARACTERS)


def fitting(text: str) -> str:
    """As much of the text as a cell can hold. No character is cut in two."""
    if len(text) <= MOST_CHARACTERS // 2:
        return text
    return text.encode("utf-16-le")[: 2 * MOST_CHARACTERS].decode("utf-16-le", "ignore")


def _is_odd(line: str) -> bool:
    """Whether it must be looked at cell by cell.

    For: an escape of COPY's, what looks like one of Excel's, blanks at an end of a value, a text too long for a cell.
    """
    return (
        "\\" in line
        or "_x" in line
        or " \t" in line
        or "\t " in line
        or line.startswith(" ")
        or line.endswith(" ")
        or len(line) > MOST_CHARACTERS // 2
    )


def _said(value: str) -> str:
    """One value of a line, as a cell says it: what XML cannot say as ``_x001F_``, Excel's way (ECMA-376 part 1, 22.9.2.19)."""
    meant = fitting(_COPIED.sub(lambda found: _MEANT.get(found[1], found[1]), value))
    safe = _LIKE_UNSAID.sub("_x005F_", meant)
    return _escaped(_UNSAID.sub(lambda found: f"_x{ord(found[0]):04X}_", safe))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
