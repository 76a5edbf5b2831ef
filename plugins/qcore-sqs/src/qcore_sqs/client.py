"""Who asks SQS, how often, and what is asked again."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
import weakref
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs
import boto3  # type: ignore[import-untyped]  # it comes without types
from botocore import exceptions as boto  # type: ignore[import-untyped]  # as above
from botocore.config import Config  # type: ignore[import-untyped]  # as above
from botocore.credentials import Credentials  # type: ignore[import-untyped]  # as above

from qcore.errors import BackendError, BackendRejected
from qcore_sqs import error_mapping
from qcore_sqs.settings import LONGEST_POLL, SqsSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

#: seconds for a connection
_CONNECT: Final = 5
#: seconds an answer may take beyond the longest wait that is asked for
_ANSWER: Final = 10
#: how often a request is repeated that SQS had no time for, and the seconds between: from, to
_PATIENCE: Final = (6, 0.1, 2.0)
#: how often a request that may be repeated is repeated when its answer is lost
_LOST: Final = 2
#: the request for one entry of a batch
_SINGLE: Final = {
    "change_message_visibility_batch": "change_message_visibility",
    "delete_message_batch": "delete_message",
    "send_message_batch": "send_message",
}
#: the requests a producer waits for, with nobody who would repeat them
_SENDING: Final = frozenset({"send_message", "send_message_batch"})


@attrs.frozen
class Failure:
    """What became of one entry of a batch that was not done."""

    code: str
    text: str
    #: what to raise, where asking again may help
    error: BackendError | None = None


class Client:
    """A client of boto3, for all threads of one process."""

    def __init__(self, settings: SqsSettings) -> None:
        _hush()
        # not the default session: that one belongs to the user
        session = boto3.session.Session(
            aws_access_key_id=settings.aws_access_key_id,
            aws_secret_access_key=settings.aws_secret_access_key,
            aws_session_token=settings.aws_session_token,
            region_name=settings.aws_region,
            profile_name=settings.aws_profile,
        )
        self.ask: Any = session.client(
            "sqs",
            endpoint_url=settings.endpoint_url,
            config=Config(
                connect_timeout=_CONNECT,
                read_timeout=LONGEST_POLL + _ANSWER,
                # what may be repeated is decided here, not behind our back
                retries={"total_max_attempts": 1, "mode": "standard"},
                tcp_keepalive=True,
                user_agent_extra="qcore",
            ),
        )
        meta = self.ask.meta
        url = urlsplit(meta.endpoint_url)
        ours = (url.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        #: where it leads, without what a URL may hold of passwords
        self.title = meta.region_name if ours else f"{url.hostname}:{url.port or 443}"
        #: whose queues are seen
        self.owner = _owner(session)

    def __del__(self) -> None:
        if hasattr(self, "ask"):
            self.ask.close()


def _owner(session: boto3.session.Session) -> str:
    """Return what tells accounts apart, without a request and without a secret."""
    found = session.get_credentials()
    if type(found) is not Credentials:
        # keys that are lent for a time: the next are others, and of the same account
        return f"{found.method}/{session.profile_name}" if found else ""
    return hashlib.sha256(found.access_key.encode()).hexdigest()[:16]


#: the clients in use; a process has one for each place, and never its parent's
_CLIENTS: Final = weakref.WeakValueDictionary[tuple[int, object], Client]()


def client_of(settings: SqsSettings) -> Client:
    """Return this process's client."""
    key = (os.getpid(), attrs.astuple(settings, filter=_leads))
    found = _CLIENTS.get(key)
    # no lock: another thread may hold it while this one forks; at worst there are two
    return found or _CLIENTS.setdefault(key, Client(settings))


def _leads(attribute: attrs.Attribute[Any], _: object) -> bool:
    return attribute.name.startswith("aws_") or attribute.name == "endpoint_url"


def _hush() -> None:
    """Keep session tokens and messages out of the logs of a program that logs everything."""
    log = logging.getLogger("botocore")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)


class Link:
    """One broker's way to SQS; after a fork it finds a client of its own."""

    def __init__(self, settings: SqsSettings, queue: str) -> None:
        self._settings = settings
        self._queue = queue
        self._client: Client | None = None
        self._pid = 0
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, in few words, without credentials."""
        return f"{self._queue} in {self._open().title}"

    def queue_id(self) -> str | None:
        """Return what names the queue, None where boto3 cannot be used as it is set up."""
        try:
            client = self._open()
        except BackendError:
            return None
        return f"sqs:{client.title}/{client.owner}#{self._queue}"

    def call(self, operation: str, *, again: bool = True, doubt: str = "", **fields: Any) -> dict[str, Any]:
        """Ask once, or as often as it takes while nothing is done by it.

        Args:
            operation: as boto3 calls it.
            again: it may be repeated when its answer is lost.
            doubt: what to say of it when its answer is lost and it may not.
            fields: of the request.

        """
        try:
            return self.ask(operation, again=again, doubt=doubt, **fields)
        except boto.ClientError as exc:
            raise error_mapping.answered(exc, self.place) from exc

    def ask(self, operation: str, *, again: bool = True, doubt: str = "", **fields: Any) -> dict[str, Any]:
        """Ask as `call` does; an error that is an answer is raised as it came."""
        client = self._open()
        tries, wait, most = _PATIENCE
        lost = 0
        while True:
            tries -= 1
            try:
                answer: dict[str, Any] = getattr(client.ask, operation)(**fields)
            except boto.ClientError as exc:
                if not (tries and error_mapping.undone(exc, sending=operation in _SENDING)):
                    raise
            except boto.HTTPClientError as exc:
                signalled = error_mapping.interruption(exc)
                if signalled is not None:
                    raise signalled from None
                lost += 1
                if not again or lost > _LOST:
                    raise error_mapping.lost(exc, self.place, doubt) from error_mapping.bare(exc)
            except boto.BotoCoreError as exc:
                raise error_mapping.lost(exc, self.place) from error_mapping.bare(exc)
            else:
                return answer
            # anywhere in the span: those who were refused together do not come back together
            time.sleep(random.uniform(0, wait))  # noqa: S311 - jitter
            wait = min(most, wait * 2)

    def batch(
        self,
        operation: str,
        url: str,
        entries: Sequence[dict[str, Any]],
        *,
        again: bool = True,
        doubt: str = "",
    ) -> dict[int, Failure]:
        """Ask for up to ten at once; those that fail by no fault of theirs are asked for one by one.

        Returns what was not done, by position: the others were, and their caller has to know it.
        """
        told = [{"Id": str(index), **one} for index, one in enumerate(entries)]
        answer = self.call(operation, again=again, doubt=doubt, QueueUrl=url, Entries=told)
        failures: dict[int, Failure] = {}
        for failed in answer.get("Failed", ()):
            index, code = int(failed["Id"]), error_mapping.code_of(failed.get("Code", ""))
            if failed.get("SenderFault", False) and code not in error_mapping.THROTTLED:
                failures[index] = Failure(code, failed.get("Message", ""))
                continue
            try:
                self.ask(_SINGLE[operation], again=again, doubt=doubt, QueueUrl=url, **entries[index])
            except BackendError as exc:
                failures[index] = Failure("", str(exc), exc)
            except boto.ClientError as exc:
                text = str(exc.response.get("Error", {}).get("Message", ""))
                error = error_mapping.answered(exc, self.place) if error_mapping.passes(exc) else None
                failures[index] = Failure(error_mapping.reply_code(exc), text, error)
        return failures

    def fault(self, failure: Failure) -> BackendError:
        """Return the error to raise for an entry that was refused."""
        return failure.error or error_mapping.refused(failure.code, failure.text, self.place)

    def close(self) -> None:
        """Let go of the client; the last to do so ends its connections."""
        self._client = None
        self._closed = True

    def _open(self) -> Client:
        if self._closed:
            raise BackendRejected(f"this connection to the queue {self._queue} was closed; make a new one")
        if self._client is None or self._pid != os.getpid():
            try:
                self._client = client_of(self._settings)
            except boto.BotoCoreError as exc:
                raise error_mapping.lost(exc, self._queue) from error_mapping.bare(exc)
            except ValueError:
                # an endpoint that is no URL; what it says may hold a password
                raise BackendRejected("sqs.endpoint_url: it is no URL such as https://host:port") from None
            self._pid = os.getpid()
        return self._client
