"""Haven with one route more, that takes as long as one asks: for tests of stopping in the middle."""

from __future__ import annotations

import time

from flask import request

from haven.app import create_app

app = create_app()


@app.get("/slow")
def slow() -> str:
    time.sleep(float(request.args["for"]))
    return "done"
