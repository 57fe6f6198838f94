"""AWS credentials from the usual chain, fetched off the event loop ahead of their expiry."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from app.aws.sigv4 import Credentials
from app.storage.errors import Unavailable

log = logging.getLogger(__name__)

EARLY_SECONDS = 600.0
FIRST_WAIT_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0

_CHAIN = "environment, profile, web identity, container, instance role"


class NoCredentials(Exception):
    """The chain has nothing to use; the text may be shown."""


def open_session(region: str | None = None) -> Session:
    """A botocore session whose calls for credentials (STS, SSO) go to `region` and end soon.

    botocore does not read AWS_REGION, so the region has to be handed over. Its own time-outs
    of 60 s and five tries would outlast the credentials that are to be replaced.
    """
    session = botocore.session.Session()
    if region:
        session.set_config_variable("region", region)
    session.set_default_client_config(
        Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    )
    return session


class CredentialSource:
    """The process's credentials: `start` it on the loop, ask `current`, `stop` it."""

    def __init__(
        self,
        region: str | None = None,
        *,
        new_session: Callable[[str | None], Session] = open_session,
        retry_seconds: float = 3.0,
    ) -> None:
        """`retry_seconds`: between tries while there are no credentials at all."""
        self._region = region
        self._new_session = new_session
        self._retry_seconds = retry_seconds
        self._session: Session | None = None
        self._current: Credentials | None = None
        self._method: str | None = None
        self._failure = "not looked for yet"
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def current(self) -> Credentials:
        """The credentials to sign with now; `Unavailable` if there are none or they expired."""
        held = self._current
        if held is None:
            raise Unavailable(
                f"the service has no AWS credentials ({_CHAIN}): {self._failure}",
                retry_after=round(self._retry_seconds) or 1,
            )
        if _expired(held):
            raise Unavailable(
                f"the service's AWS credentials expired, new ones cannot be had: {self._failure}",
                retry_after=round(self._retry_seconds) or 1,
            )
        return held

    async def start(self) -> None:
        """Look for credentials, for 5 s at most; goes on looking in the background."""
        self._task = asyncio.create_task(self._keep_fresh(), name="aws-credentials")
        try:
            await asyncio.wait_for(self._tried.wait(), FIRST_WAIT_SECONDS)
        except TimeoutError:
            log.warning("no AWS credentials after %s s, still looking", FIRST_WAIT_SECONDS)

    async def stop(self) -> None:
        """End the background task. A look-up that runs in its thread ends by itself."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep_fresh(self) -> None:
        while True:
            renewed = await self._renew()
            self._tried.set()
            held = self._current
            if held is not None and held.expires_at is None:
                return
            await asyncio.sleep(self._pause(held, renewed))

    async def _renew(self) -> bool:
        """Whether the chain gave credentials that are good now."""
        try:
            self._current = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the chain's providers raise what they like
            self._note(error)
            return False
        self._failure = "the refresh is late"
        return True

    def _note(self, error: Exception) -> None:
        """What `current` will say of it is for clients: the kind only. The log gets the text
        too, but for errors of unknown making, which may quote a secret."""
        before, kind = self._failure, type(error).__name__
        self._failure = str(error) if isinstance(error, NoCredentials) else kind
        told = isinstance(error, (BotoCoreError, ClientError, OSError, NoCredentials))
        wanted = "found" if self._current is None else "refreshed"
        # A try every few seconds that fails the same way is said once.
        level = logging.DEBUG if self._failure == before else logging.WARNING
        log.log(level, "AWS credentials not %s: %s: %s", wanted, kind, error if told else "-")

    def _load(self) -> Credentials:
        """Walk the chain anew. Runs in a thread: files, processes and networks may be asked.

        The chain itself, not `session.get_credentials`: a set that botocore keeps has windows
        in which it returns the old one and swallows the failure.
        """
        found = self._open().get_component("credential_provider").load_credentials()
        if found is None:
            raise NoCredentials("none found")
        frozen = found.get_frozen_credentials()
        # botocore has no public way to ask for the expiry; unset for what does not expire.
        expiry = getattr(found, "_expiry_time", None)
        expires_at = None if expiry is None else float(expiry.timestamp())
        if not frozen.access_key or not frozen.secret_key:
            raise NoCredentials("those found are incomplete")
        self._tell(found.method)
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires_at)

    def _open(self) -> Session:
        """The session of last time, as the service models it holds make a call to STS cost 4 ms
        of the interpreter's lock, not 50 to 150. A new one sees changed files, so that is what
        it takes while there is nothing that works."""
        held = self._current
        if self._session is None or held is None or _expired(held):
            self._session = self._new_session(self._region)
        return self._session

    def _tell(self, method: str) -> None:
        if method != self._method:
            log.info("AWS credentials found: %s", method)
            self._method = method

    def _pause(self, held: Credentials | None, renewed: bool) -> float:
        """Seconds until the next look, spread so that replicas do not ask all at once."""
        left = 0.0
        if held is not None and held.expires_at is not None:
            left = held.expires_at - time.time()
        if renewed:
            wanted = max(left - EARLY_SECONDS * _spread(1.2), left / 2 * _spread(0.9))
        else:
            wanted = self._retry_pause(left) * _spread(0.5)
        return max(wanted, SHORTEST_PAUSE_SECONDS)

    def _retry_pause(self, left: float) -> float:
        """Calm while the old set lasts, quick when it is about to end."""
        if left <= 0:
            return self._retry_seconds
        return min(max(left / 10, self._retry_seconds), LONGEST_RETRY_SECONDS)


def _expired(held: Credentials) -> bool:
    return held.expires_at is not None and held.expires_at <= time.time()


def _spread(end: float) -> float:
    return random.uniform(1.0, end)  # noqa: S311 - guards no secret
