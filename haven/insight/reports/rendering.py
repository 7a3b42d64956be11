"""A finished report as bytes: JSON, a workbook, or a typeset page."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import orjson

from haven.insight.reports.document import Document, figures
from haven.insight.reports.pdf import pdf
from haven.insight.reports.xlsx import xlsx

CONTENT_TYPES: Final = {
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
_LONGEST: Final = 40


def rendered(document: Document, form: str) -> bytes:
    """The file.

    Raises:
        Invalid: it has more rows than a page or a workbook may.
    """
    if form == "xlsx":
        return xlsx(document)
    return pdf(document) if form == "pdf" else orjson.dumps(figures(document), option=orjson.OPT_INDENT_2)


def filename(document: Document, form: str) -> str:
    """``owner-statement_achieng-otieno_2026-11-01_2026-11-30.pdf``: letters, digits and dashes of ASCII alone."""
    plain = unicodedata.normalize("NFKD", document.subject).encode("ascii", "ignore").decode().lower()
    subject = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST]
    frame = document.frame
    parts = [document.kind, subject, frame.first.isoformat(), frame.last.isoformat()]
    return f"{'_'.join(part for part in parts if part)}.{form}"
