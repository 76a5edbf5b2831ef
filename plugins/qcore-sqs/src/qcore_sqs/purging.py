"""Decides how ready and delayed messages are purged."""

from __future__ import annotations

import contextlib
import logging
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore_sqs import codec, error_mapping
from qcore_sqs.transfer import MAX_DELAY, remove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.codec import Received
    from qcore_sqs.queues import Queues

_log = logging.getLogger("qcore_sqs.purging")

#: tag of the queue with the time of the last purge and the number of messages delayed then
_TAG: Final = "qcore:purged"
#: seconds for which the value of the tag is cached
_TAG_TTL: Final = 1.0
#: seconds; a larger difference means that our clock is wrong
_SKEW: Final = 2.0
#: seconds for which messages are invisible while they are removed
_REMOVAL: Final = 30

# SQS's own purge removes leased messages as well, so it is not used. A delayed message cannot be received
# before its time. So the queue is tagged with the time of its purge, and a delayed message that was sent
# before is removed when it is received.


class Purger:
    """Purges a queue, and removes delayed messages that a purge could not reach."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._tag_read_at = -_TAG_TTL
        self._purged_at = 0.0
        self._tags_readable = True

    def run(self) -> int:
        """Remove ready and delayed messages; return how many there were."""
        queues = self._queues
        url = queues.find(queues.name)
        if url is None:
            return 0
        delayed = self.delayed(queues.attributes(queues.name, "ApproximateNumberOfMessagesDelayed"))
        if not queues.fifo:
            self._tag_purge(url, delayed)
        return self._remove_ready(url) + delayed

    def kept(self, received: Sequence[Received]) -> Sequence[Received]:
        """Remove messages that were delayed when the queue was purged; return the rest."""
        if not any(one.metadata.delayed for one in received):
            return received
        purged_at = self._last()
        # a message that was received before the purge was leased or ready then
        dropped = [one for one in received if one.metadata.delayed and one.sent < purged_at <= one.first]
        remove(self._queues, [one.handle for one in dropped])
        return [one for one in received if one not in dropped]

    def delayed(self, attributes: dict[str, str]) -> int:
        """Return how many messages are delayed and were not purged, from the queue's attributes."""
        count = int(attributes.get("ApproximateNumberOfMessagesDelayed", 0))
        if count:
            purged_at, purged = self._tag()
            if time.time() - purged_at <= MAX_DELAY:
                count = max(0, count - purged)
        return count

    def _last(self) -> float:
        if time.monotonic() - self._tag_read_at > _TAG_TTL:
            self._purged_at, _ = self._tag()
            self._tag_read_at = time.monotonic()
        return self._purged_at

    def _tag(self) -> tuple[float, int]:
        """Return the epoch seconds of the last purge, and how many messages were delayed then."""
        if not self._tags_readable:
            return 0.0, 0
        try:
            tags = self._queues.connection.ask("list_queue_tags", QueueUrl=self._queues.main()).get(
                "Tags", {}
            )
        except boto.ClientError as exc:
            if error_mapping.is_transient(exc):
                raise error_mapping.from_answer(exc, self._queues.connection.address) from exc
            self._tags_readable = False
            _log.warning(
                "the tags of the queue cannot be read, so delayed messages are not purged: %s",
                error_mapping.reply_code(exc),
            )
            return 0.0, 0
        with contextlib.suppress(ValueError):
            purged_at, _, count = tags.get(_TAG, "").partition("/")
            return int(purged_at) / 1000, int(count)
        return 0.0, 0

    def _tag_purge(self, url: str, delayed: int) -> None:
        before, purged = self._tag()
        if time.time() - before <= MAX_DELAY:
            delayed += purged
        answer = self._queues.connection.call(
            "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"]
        )
        value = f"{round(_now(answer) * 1000)}/{delayed}"
        self._queues.connection.call("tag_queue", QueueUrl=url, Tags={_TAG: value})
        self._tag_read_at = -_TAG_TTL

    def _remove_ready(self, url: str) -> int:
        count = empty = 0
        # a short poll asks only some of SQS's servers
        while empty < 2:
            answer = self._queues.connection.call(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=codec.BATCH,
                WaitTimeSeconds=0 if not empty else 1,
                VisibilityTimeout=_REMOVAL,
            )
            handles = [message["ReceiptHandle"] for message in answer.get("Messages", ())]
            remove(self._queues, handles)
            count += len(handles)
            empty = 0 if handles else empty + 1
        return count


def _now(answer: dict[str, Any]) -> float:
    """Return the epoch seconds by SQS's clock; by ours, which is finer, if they agree."""
    ours = time.time()
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return ours
    return ours if abs(ours - theirs) < _SKEW else theirs
