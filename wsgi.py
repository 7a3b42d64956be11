"""The WSGI entry: ``gunicorn wsgi:app``."""

from haven.app import create_app

app = create_app()
