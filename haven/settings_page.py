"""The page of all settings, made from their declarations, so that it cannot be wrong."""

from __future__ import annotations

from dataclasses import fields

from config import Settings

_HEAD = """# Settings

Everything a person configures, as environment variables. A wrong value stops the start with a sentence that names the
variable, the rule and what was found. This page is made from `config.py` (`python -m haven.settings_page > docs/settings.md`).

| variable | default | unit | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page, in Markdown."""
    return _HEAD + "".join(
        f"| `{one.name.upper()}` | {_default(one.default)} | {_unit(one.metadata)} | {one.metadata['doc']} |\n"
        for one in fields(Settings)
    )


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return "<br>".join(f"`{one}`" for one in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else ""


def _unit(metadata: object) -> str:
    rules = dict(metadata)  # type: ignore[call-overload]
    if rules["low"] is None:
        return str(rules["unit"])
    return f"{rules['low']:,} to {rules['high']:,} {rules['unit']}".strip()


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  it is written to a file
