"""Which queues there are at SQS, and when one is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore_sqs import error_mapping
from qcore_sqs.client import Link
from qcore_sqs.codec import LIMIT
from qcore_sqs.names import dead_letters_name, queue_name
from qcore_sqs.settings import SqsSettings

if TYPE_CHECKING:
    from qcore.interfaces import Settings

#: seconds a queue that we make keeps a message: the most there is
_RETENTION: Final = 1_209_600


class Queues:
    """The queue and the one of its dead letters."""

    def __init__(self, settings: Settings) -> None:
        section = settings.section("sqs") or SqsSettings()
        self.settings: SqsSettings = section
        self.fifo = section.is_fifo
        self.name = section.queue or queue_name(settings.name, fifo=self.fifo)
        self.dead_letters_name = section.buried_queue or dead_letters_name(self.name)
        if self.name == self.dead_letters_name:
            fault = f"sqs.buried_queue: got {self.name!r}, which is the queue itself; give another name"
            raise ConfigError([fault])
        self.link = Link(section, self.name)
        self._retry = settings.retry
        self._urls: dict[str, str] = {}

    def main(self) -> str:
        """Return the URL of the queue, making it if it is missing and that is allowed."""
        return self._urls.get(self.name) or self._ready(self.name)

    def letters(self) -> str:
        """Return the URL of the queue of the dead letters, as above."""
        return self._urls.get(self.dead_letters_name) or self._ready(self.dead_letters_name)

    def find(self, name: str) -> str | None:
        """Return the URL of a queue, None if there is none."""
        if name not in self._urls:
            try:
                self._urls[name] = self.link.ask("get_queue_url", QueueName=name)["QueueUrl"]
            except boto.ClientError as exc:
                if error_mapping.reply_code(exc) in error_mapping.MISSING:
                    return None
                raise error_mapping.answered(exc, self.link.place) from exc
        return self._urls[name]

    def attributes(self, name: str, *wanted: str) -> dict[str, str]:
        """Return what SQS tells of a queue; nothing if there is none."""
        url = self.find(name)
        if url is None:
            return {}
        try:
            told = self.link.ask("get_queue_attributes", QueueUrl=url, AttributeNames=list(wanted))
        except boto.ClientError as exc:
            if error_mapping.reply_code(exc) in error_mapping.MISSING:
                self.forget()
                return {}
            raise error_mapping.answered(exc, self.link.place) from exc
        found: dict[str, str] = told.get("Attributes", {})
        return found

    def forget(self) -> None:
        """Look anew where the queues are, and whether they are, next time."""
        self._urls.clear()

    def _ready(self, name: str) -> str:
        found = self.find(name)
        if found is None:
            if not self.settings.create:
                raise BackendRejected(
                    f"there is no queue {name!r} at {self.link.place}, and sqs.create is false; make it, or "
                    "set sqs.create = true"
                )
            found = self._urls[name] = self._create(name)
        return found

    def _create(self, name: str) -> str:
        told = {
            "VisibilityTimeout": str(max(1, math.ceil(self._retry))),
            "MessageRetentionPeriod": str(_RETENTION),
            "MaximumMessageSize": str(LIMIT),
            **({"FifoQueue": "true"} if self.fifo else {}),
            **({"ContentBasedDeduplication": "true"} if self.fifo and self._by_content() else {}),
            **self._redrive(name),
            **self.settings.attributes,
        }
        try:
            made: dict[str, Any] = self.link.ask("create_queue", QueueName=name, Attributes=told)
        except boto.ClientError as exc:
            if error_mapping.reply_code(exc) in {"QueueNameExists", "QueueAlreadyExists"}:
                # somebody else has just made it, with another `retry`
                if url := self.find(name):
                    return url
            raise error_mapping.answered(exc, self.link.place) from exc
        return str(made["QueueUrl"])

    def _by_content(self) -> bool:
        return self.settings.deduplication == "content"

    def _redrive(self, name: str) -> dict[str, str]:
        if self.settings.max_receives is None or name == self.dead_letters_name:
            return {}
        self.letters()
        arn = self.attributes(self.dead_letters_name, "QueueArn").get("QueueArn")
        if arn is None:
            raise BackendUnavailable(
                f"the queue {self.dead_letters_name!r} was made but is not to be seen yet"
            )
        policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{self.settings.max_receives}}}'
        return {"RedrivePolicy": policy}
