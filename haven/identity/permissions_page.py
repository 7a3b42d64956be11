"""The page of permissions, made from the table that the guards read."""

from __future__ import annotations

from haven.identity.permissions import PERMISSIONS, ROLES

_HEAD = """# Permissions

What each role may do. This page is made from `haven/identity/permissions.py`
(`python -m haven.identity.permissions_page > docs/permissions.md`), which the guards read too. An API key may do what both its
scopes and its maker's role allow. Operators (`PLATFORM_ADMIN`) run the platform and see no agency's tenants or money.

"""


def page() -> str:
    """The page, in Markdown."""
    head = "| permission | what it allows | " + " | ".join(f"`{role}`" for role in ROLES) + " |\n"
    line = "| --- | --- |" + " :-: |" * len(ROLES) + "\n"
    rows = (
        f"| `{name}` | {words} | "
        + " | ".join("✓" if name in held else "" for held in ROLES.values())
        + " |\n"
        for name, words in PERMISSIONS.items()
    )
    return _HEAD + head + line + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  it is written to a file
