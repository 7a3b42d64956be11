"""Files in a bucket of S3, or of what speaks as it (MinIO, Ceph, R2, Spaces), by obstore."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obstore.exceptions import BaseError
from obstore.store import S3Store

from config import Settings
from haven.errors import NotFound, Unavailable
from haven.files.storage import CHUNK

_CONNECT_S: Final = 5
_RETRIES: Final = 3
_PART: Final = 8 << 20
"""S3 takes parts of 5 MiB and more; of these four are in memory at once at the most."""


class Bucket:
    """The bucket that the EXPORT_S3_ settings name."""

    def __init__(self, settings: Settings) -> None:
        timeout = dt.timedelta(seconds=settings.export_s3_timeout)
        endpoint = settings.export_s3_endpoint
        self._name = settings.export_s3_bucket
        self._store = S3Store(
            self._name,
            endpoint=endpoint or None,
            region=settings.export_s3_region,
            access_key_id=settings.export_s3_access_key or None,
            secret_access_key=settings.export_s3_secret_key or None,
            virtual_hosted_style_request=not endpoint,
            client_options={
                "timeout": timeout,
                "connect_timeout": dt.timedelta(seconds=_CONNECT_S),
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timeout},
        )

    def put(self, path: Path, key: str) -> None:
        """Send it in parts; S3 shows the object once it has all of them."""
        try:
            self._store.put(key, path, chunk_size=_PART, max_concurrency=4)
        except (BaseError, OSError) as error:
            raise self._away(error) from error
        path.unlink()

    def open(self, key: str, start: int, length: int) -> Iterator[bytes]:
        if length <= 0:
            return iter(())
        try:
            found = self._store.get(key, options={"range": (start, start + length)})
        except FileNotFoundError:
            raise NotFound("The file is not there any more.") from None
        except (BaseError, OSError) as error:
            raise self._away(error) from error
        return (bytes(piece) for piece in found.stream(min_chunk_size=CHUNK))

    def delete(self, key: str) -> None:
        try:
            self._store.delete(key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._away(error) from error

    def size(self, key: str) -> int | None:
        try:
            return int(self._store.head(key)["size"])
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> Unavailable:
        # The error's own words may hold the signed request.
        return Unavailable(
            f"The bucket {self._name} does not take the request ({type(error).__name__}).", retry_after_s=10
        )
