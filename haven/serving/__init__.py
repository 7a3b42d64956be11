"""How gunicorn's processes take requests and give answers."""

from haven.serving.worker import Worker

__all__ = ["Worker"]
