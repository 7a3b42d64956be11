"""What keeps benchmarks from being made or read."""


class CannotMeasure(Exception):
    """Something that is needed is missing or failed; the message says what to do."""
