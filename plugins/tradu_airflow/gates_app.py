"""Serves the gates' Data Docs from the store, to signed-in users, under /tradu/gates."""

from __future__ import annotations

import mimetypes
from typing import Annotated

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Response

from tradu.errors import RequestError
from tradu.settings import get_settings
from tradu.store import Store

URL_PREFIX = "/tradu/gates"
"""Where the plugin mounts the app."""

_HEADERS = {
    # The pages are self-contained: their own style, no script. Text of documents may be shown in them.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}

# Routes of Airflow plugins are open to everybody unless they ask for a user themselves.
app = FastAPI(
    title="Tradu gates",
    dependencies=[Depends(get_user)],
    openapi_url=None,
    docs_url=None,
    redoc_url=None,
)


def get_store() -> Store:
    """The store that holds the Data Docs."""
    return Store(get_settings().store)


@app.get("/{job_id}/{gate}/{path:path}")
def page(job_id: str, gate: str, store: Annotated[Store, Depends(get_store)], path: str = "") -> Response:
    """One file of a gate's Data Docs; the first page where no file is named."""
    name = path or "index.html"
    key = f"gates/{job_id}/{gate}/{name}"
    try:
        data = store.get(key)
    except (RequestError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise HTTPException(404, f"There are no Data Docs {name!r} of the gate {gate!r} of job {job_id!r}.") from None
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(data, media_type=media_type, headers=_HEADERS)
