"""The table, as uploads see it. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from typing import Protocol

from app.idempotency.models import Claim, Settlement
from app.storage.errors import Refused
from app.uploads.models import Upload


class NotOpen(Refused):
    """The upload was completed or ended; `current` is what is left of it, if anything."""

    def __init__(self, current: Upload | None) -> None:
        super().__init__("the upload is not open")
        self.current = current


class UploadTable(Protocol):
    """With a `claim` the answer is recorded by the same transaction; raises `ClaimLost`."""

    async def open(self, upload: Upload, claim: Claim | None, settled: Settlement | None) -> None:
        """Announce the upload's bytes."""
        ...

    async def begin(self, upload: Upload, claim: Claim | None, settled: Settlement | None) -> None:
        """Record its `multipart_id`; raises `NotOpen`."""
        ...

    async def read(self, upload_id: str) -> Upload | None:
        """In whatever state, read consistently."""
        ...

    async def renew(self, upload: Upload, due_at: int, urls_until: int | None) -> Upload:
        """Put off its end. URLs may then be signed that live until `urls_until`. Raises
        `NotOpen`."""
        ...

    async def reap(self, upload: Upload, now: int) -> bool:
        """Turn it to `reaping`, after which no completion can succeed. False if it is completed or
        gone."""
        ...

    async def swept(self, upload: Upload) -> None:
        """The bytes of a reaping upload are gone: come once more when it is settled."""
        ...
