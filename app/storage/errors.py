"""What can go wrong in storage, in storage's own words."""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything that an adapter raises on purpose."""


class Unavailable(StorageError):
    """The backend refused, timed out or cannot be reached. What was asked did not happen,
    or may be asked again without harm."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class Full(Unavailable):
    """Not the backend but the service itself has no room for this now."""


class OutcomeUnknown(Unavailable):
    """A write was sent and no answer could be had: it may or may not have happened."""


class Contention(Unavailable):
    """Other writers kept the item busy until the request's deadline."""


class ObjectUnreadable(Unavailable):
    """The bucket refuses this object for good: it is archived, or its key is not ours to use."""


class ObjectMissing(StorageError):
    """The bucket holds no object under this key."""


class Refused(Exception):
    """Base of a commit's definite refusals: nothing was changed."""
