"""What reports are made of: one HTML file that needs no network, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2024; --faint: #d7dbe0; --quiet: #667080;
  --slower: #c42b1c; --faster: #14804a; --same: #3b6ea5; --unclear: #a66a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e6e9ec; --faint: #343a42; --quiet: #98a2b0;
  --slower: #ff7a6b; --faster: #56c98b; --same: #7fb2e8; --unclear: #e0ac4b; } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--faint); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--quiet); font-size: 11px; }
.axis { stroke: var(--faint); } .line { fill: none; stroke: var(--same); stroke-width: 1.5; }
.slower { color: var(--slower); } .faster { color: var(--faster); } .same { color: var(--same); }
.unclear { color: var(--unclear); } .dot { fill: currentColor; } .reach { stroke: currentColor; stroke-width: 2; }
.cut { stroke: var(--slower); stroke-dasharray: 4 3; } .quiet { color: var(--quiet); }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """The whole file; ``parts`` are HTML."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
