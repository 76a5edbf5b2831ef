"""Decides which queues at SQS are used and creates missing ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore.errors import BackendRejected, BackendUnavailable, ConfigError, QueueMissing
from qcore_sqs import error_mapping
from qcore_sqs.client import Connection
from qcore_sqs.codec import LIMIT
from qcore_sqs.names import dead_letters_name, queue_name
from qcore_sqs.settings import SqsSettings

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: seconds for which a queue that we create keeps a message; the maximum at SQS
_RETENTION: Final = 1_209_600


class Queues:
    """The queue and the queue of its dead letters."""

    def __init__(self, settings: Settings) -> None:
        section = settings.section("sqs") or SqsSettings()
        self.settings: SqsSettings = section
        self.fifo = section.is_fifo
        self.name = section.queue or queue_name(settings.name, fifo=self.fifo)
        self.dead_letters_name = section.dead_letter_queue or dead_letters_name(self.name)
        if self.name == self.dead_letters_name:
            problem = f"sqs.dead_letter_queue: got {self.name!r}, which is the queue itself; set another name"
            raise ConfigError([problem])
        self.connection = Connection(section, self.name)
        self._retry = settings.retry
        self._urls: dict[str, str] = {}
        # processes of a cluster have an owner; its workers create the queue when they first use it
        if not (settings.create or settings.owner) and self.find(self.name) is None:
            raise QueueMissing(
                f"there is no queue {self.name!r} at {self.connection.address}; the first task that is"
                " enqueued, or a cluster, creates it; check the name if there should be one"
            )

    def main(self) -> str:
        """Return the URL of the queue; create it if it is missing and `sqs.create` is true."""
        return self._urls.get(self.name) or self._ready(self.name)

    def dead_letter_url(self) -> str:
        """Return the URL of the queue of the dead letters; create it as `main` does."""
        return self._urls.get(self.dead_letters_name) or self._ready(self.dead_letters_name)

    def find(self, name: str) -> str | None:
        """Return the URL of a queue, None if it does not exist."""
        if name not in self._urls:
            try:
                self._urls[name] = self.connection.ask("get_queue_url", QueueName=name)["QueueUrl"]
            except boto.ClientError as exc:
                if error_mapping.reply_code(exc) in error_mapping.MISSING:
                    return None
                raise error_mapping.from_answer(exc, self.connection.address) from exc
        return self._urls[name]

    def attributes(self, name: str, *wanted: str) -> dict[str, str]:
        """Return attributes of a queue; empty if it does not exist."""
        url = self.find(name)
        if url is None:
            return {}
        try:
            answer = self.connection.ask("get_queue_attributes", QueueUrl=url, AttributeNames=list(wanted))
        except boto.ClientError as exc:
            if error_mapping.reply_code(exc) in error_mapping.MISSING:
                self.forget()
                return {}
            raise error_mapping.from_answer(exc, self.connection.address) from exc
        found: dict[str, str] = answer.get("Attributes", {})
        return found

    def forget(self) -> None:
        """Look up the URLs of the queues again at the next call."""
        self._urls.clear()

    def _ready(self, name: str) -> str:
        found = self.find(name)
        if found is None:
            if not self.settings.create:
                raise BackendRejected(
                    f"the queue {name!r} at {self.connection.address} does not exist, and sqs.create"
                    " is false; create it, or set sqs.create = true"
                )
            found = self._urls[name] = self._create(name)
        return found

    def _create(self, name: str) -> str:
        answer = {
            "VisibilityTimeout": str(max(1, math.ceil(self._retry))),
            "MessageRetentionPeriod": str(_RETENTION),
            "MaximumMessageSize": str(LIMIT),
            **({"FifoQueue": "true"} if self.fifo else {}),
            **({"ContentBasedDeduplication": "true"} if self.fifo and self._by_content() else {}),
            **self._redrive(name),
            **self.settings.attributes,
        }
        try:
            made: dict[str, Any] = self.connection.ask("create_queue", QueueName=name, Attributes=answer)
        except boto.ClientError as exc:
            if error_mapping.reply_code(exc) in {"QueueNameExists", "QueueAlreadyExists"}:
                # another process has just created it with another `retry`
                if url := self.find(name):
                    return url
            raise error_mapping.from_answer(exc, self.connection.address) from exc
        return str(made["QueueUrl"])

    def _by_content(self) -> bool:
        return self.settings.deduplication == "content"

    def _redrive(self, name: str) -> dict[str, str]:
        if self.settings.max_receives is None or name == self.dead_letters_name:
            return {}
        self.dead_letter_url()
        arn = self.attributes(self.dead_letters_name, "QueueArn").get("QueueArn")
        if arn is None:
            raise BackendUnavailable(
                f"the queue {self.dead_letters_name!r} was created but is not visible yet; try again"
            )
        policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{self.settings.max_receives}}}'
        return {"RedrivePolicy": policy}
