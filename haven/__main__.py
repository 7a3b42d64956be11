"""``python -m haven`` is the ``haven`` command."""

from haven.cli import main

if __name__ == "__main__":
    main()
