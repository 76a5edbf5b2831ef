"""Decides how SQS is called and which requests are repeated."""

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

from qcore.errors import BackendError, BackendRejected, BackendUnavailable
from qcore_plugin_support import call_limit
from qcore_sqs import deadline, error_mapping
from qcore_sqs.settings import MAX_POLL, SqsSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

#: seconds to open a connection
_CONNECT: Final = 5
#: tries of a throttled request, and the shortest and the longest pause between them, in seconds
_THROTTLE_RETRIES: Final = (6, 0.1, 2.0)
#: how often a repeatable request is repeated when its answer is lost
_LOST: Final = 2
#: batch request -> the request for a single entry
_SINGLE: Final = {
    "change_message_visibility_batch": "change_message_visibility",
    "delete_message_batch": "delete_message",
    "send_message_batch": "send_message",
}
#: the requests of producers, which nobody else would repeat
_SENDING: Final = frozenset({"send_message", "send_message_batch"})


@attrs.frozen
class Failure:
    """An entry of a batch that failed."""

    code: str
    text: str
    #: the error to raise, if repeating the call may help
    error: BackendError | None = None


class Client:
    """A boto3 client for all threads of one process."""

    def __init__(self, settings: SqsSettings) -> None:
        _silence_botocore()
        # not the default session, which belongs to the user
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
                # beyond the deadline of any request, which ends it
                read_timeout=MAX_POLL + settings.timeout,
                # this module decides what is repeated, not botocore
                retries={"total_max_attempts": 1, "mode": "standard"},
                tcp_keepalive=True,
                user_agent_extra="qcore",
            ),
        )
        deadline.limit(self.ask)
        meta = self.ask.meta
        url = urlsplit(meta.endpoint_url)
        ours = (url.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        #: region or host and port, without credentials
        self.title = meta.region_name if ours else f"{url.hostname}:{url.port or 443}"
        #: identifies the AWS account, "" if there are no credentials
        self.owner = _owner(session)

    def __del__(self) -> None:
        if hasattr(self, "ask"):
            self.ask.close()


def _owner(session: boto3.session.Session) -> str:
    """Return a text that identifies the account, without a request and without secrets."""
    found = session.get_credentials()
    if type(found) is not Credentials:
        # temporary keys, which change although the account stays the same
        return f"{found.method}/{session.profile_name}" if found else ""
    return hashlib.sha256(found.access_key.encode()).hexdigest()[:16]


#: the clients in use: one for each process and endpoint, never shared with a parent process
_CLIENTS: Final = weakref.WeakValueDictionary[tuple[int, object], Client]()


def client_of(settings: SqsSettings) -> Client:
    """Return this process's client for these settings."""
    key = (os.getpid(), attrs.astuple(settings, filter=_selects_client))
    found = _CLIENTS.get(key)
    # without a lock, which another thread might hold during a fork; at worst there are two clients
    return found or _CLIENTS.setdefault(key, Client(settings))


def _selects_client(attribute: attrs.Attribute[Any], _: object) -> bool:
    return attribute.name.startswith("aws_") or attribute.name in {"endpoint_url", "timeout"}


def _silence_botocore() -> None:
    """Keep session tokens and messages out of the logs of a program that logs at DEBUG."""
    log = logging.getLogger("botocore")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)


class Connection:
    """One broker's connection to SQS; after a fork it uses a new client."""

    def __init__(self, settings: SqsSettings, queue: str) -> None:
        self._settings = settings
        self._queue = queue
        self._client: Client | None = None
        self._pid = 0
        self._closed = False

    @property
    def address(self) -> str:
        """The queue and its region or host, without credentials."""
        return f"{self._queue} in {self._open().title}"

    def queue_id(self) -> str | None:
        """Return a text that identifies the queue, None if boto3 cannot be used with these settings."""
        try:
            client = self._open()
        except BackendError:
            return None
        return f"sqs:{client.title}/{client.owner}#{self._queue}"

    def call(
        self, operation: str, *, repeatable: bool = True, if_unknown: str = "", **fields: Any
    ) -> dict[str, Any]:
        """Send a request; repeat it if it was throttled, or if it is repeatable and its answer was lost.

        Args:
            operation: name of the method of boto3's client.
            repeatable: whether it may be repeated when its answer is lost.
            if_unknown: what the error says if its answer is lost and it is not repeatable.
            fields: parameters of the request.

        Raises:
            BackendError: SQS refused the request or did not answer.

        """
        try:
            return self.ask(operation, repeatable=repeatable, if_unknown=if_unknown, **fields)
        except boto.ClientError as exc:
            raise error_mapping.from_answer(exc, self.address) from exc

    def ask(
        self, operation: str, *, repeatable: bool = True, if_unknown: str = "", **fields: Any
    ) -> dict[str, Any]:
        """Send a request as `call` does, but raise an error in SQS's answer as boto3's ClientError."""
        # a receive waits for messages at SQS
        with call_limit.within(self._settings.timeout, wait=fields.get("WaitTimeSeconds", 0)):
            return self._ask(operation, fields, if_unknown, repeatable=repeatable)

    def _ask(
        self, operation: str, fields: dict[str, Any], if_unknown: str, *, repeatable: bool
    ) -> dict[str, Any]:
        client = self._open()
        attempts, wait, longest = _THROTTLE_RETRIES
        lost = 0
        while True:
            if not call_limit.lasts(0.0):
                # not sent: what is not accepted can be told from what may be
                raise BackendUnavailable(f"SQS at {self.address} does not answer in time")
            attempts -= 1
            try:
                answer: dict[str, Any] = getattr(client.ask, operation)(**fields)
            except boto.ClientError as exc:
                again = attempts and call_limit.lasts(wait)
                if not (again and error_mapping.nothing_was_done(exc, sending=operation in _SENDING)):
                    raise
            except boto.HTTPClientError as exc:
                signalled = error_mapping.interruption(exc)
                if signalled is not None:
                    raise signalled from None
                lost += 1
                if not repeatable or lost > _LOST or not call_limit.lasts(wait):
                    raise error_mapping.from_failure(
                        exc, self.address, if_unknown
                    ) from error_mapping.safe_cause(exc)
            except boto.BotoCoreError as exc:
                raise error_mapping.from_failure(exc, self.address) from error_mapping.safe_cause(exc)
            else:
                return answer
            # a random part of the pause, so that clients that were throttled together do not return together
            time.sleep(random.uniform(0, wait))  # noqa: S311 - jitter
            wait = min(longest, wait * 2)

    def batch(
        self,
        operation: str,
        url: str,
        entries: Sequence[dict[str, Any]],
        *,
        repeatable: bool = True,
        if_unknown: str = "",
    ) -> dict[int, Failure]:
        """Send a batch of up to ten entries; repeat those that SQS failed to process one by one.

        Returns the failed entries by position; all others were processed.
        """
        numbered = [{"Id": str(index), **one} for index, one in enumerate(entries)]
        answer = self.call(
            operation, repeatable=repeatable, if_unknown=if_unknown, QueueUrl=url, Entries=numbered
        )
        processed = {one["Id"] for one in (*answer.get("Successful", ()), *answer.get("Failed", ()))}
        failures: dict[int, Failure] = {}
        for index in range(len(entries)):
            if str(index) not in processed:
                # The answer was cut off in its headers, or a proxy answered by itself.
                failures[index] = self._unanswered(if_unknown)
        for failed in answer.get("Failed", ()):
            index, code = int(failed["Id"]), error_mapping.code_of(failed.get("Code", ""))
            if failed.get("SenderFault", False) and code not in error_mapping.THROTTLED:
                failures[index] = Failure(code, failed.get("Message", ""))
                continue
            try:
                self.ask(
                    _SINGLE[operation],
                    repeatable=repeatable,
                    if_unknown=if_unknown,
                    QueueUrl=url,
                    **entries[index],
                )
            except BackendError as exc:
                failures[index] = Failure("", str(exc), exc)
            except boto.ClientError as exc:
                text = str(exc.response.get("Error", {}).get("Message", ""))
                error = (
                    error_mapping.from_answer(exc, self.address) if error_mapping.is_transient(exc) else None
                )
                failures[index] = Failure(error_mapping.reply_code(exc), text, error)
        return failures

    def _unanswered(self, if_unknown: str) -> Failure:
        text = f"SQS at {self.address} does not answer: its answer says nothing about an entry"
        error = error_mapping.AnswerLost(f"{text}{if_unknown and '; '}{if_unknown}")
        return Failure("", text, error)

    def error_of(self, failure: Failure) -> BackendError:
        """Return the error to raise for a failed entry."""
        return failure.error or error_mapping.rejected(failure.code, failure.text, self.address)

    def close(self) -> None:
        """Stop using the client, which is closed when its last user does so."""
        self._client = None
        self._closed = True

    def _open(self) -> Client:
        if self._closed:
            raise BackendRejected(f"this connection to the queue {self._queue} was closed; make a new one")
        if self._client is None or self._pid != os.getpid():
            try:
                self._client = client_of(self._settings)
            except boto.BotoCoreError as exc:
                raise error_mapping.from_failure(exc, self._queue) from error_mapping.safe_cause(exc)
            except ValueError:
                # the endpoint is not a URL; the error's text may contain a password
                raise BackendRejected("sqs.endpoint_url: must be a URL such as https://host:port") from None
            self._pid = os.getpid()
        return self._client
