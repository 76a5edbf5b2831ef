"""How a queue is emptied of what is not leased."""

from __future__ import annotations

import contextlib
import logging
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore_sqs import codec, error_mapping
from qcore_sqs.transfer import LONGEST_DELAY, remove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.codec import Arrival
    from qcore_sqs.queues import Queues

_log = logging.getLogger("qcore_sqs.purging")

#: tag of the queue that says when it was purged, and how many messages were delayed then
_TAG: Final = "qcore:purged"
#: seconds what the tag says is believed
_TRUST: Final = 1.0
#: seconds a clock may be off and still be taken for right
_SKEW: Final = 2.0
#: seconds messages are out of sight while they are removed
_REMOVAL: Final = 30

# SQS's own purge takes leased messages too, so it is of no use here. What SQS delays cannot be
# received before its time; so the queue bears the time of its purge, and a delayed message that was
# sent before is removed when it comes.


class Purger:
    """Empties a queue, and knows what should not be in it any more."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._looked = -_TRUST
        self._mark = 0.0
        self._told = True

    def run(self) -> int:
        """Remove what is ready or delayed; return how many there were."""
        queues = self._queues
        url = queues.find(queues.name)
        if url is None:
            return 0
        delayed = self.delayed(queues.attributes(queues.name, "ApproximateNumberOfMessagesDelayed"))
        if not queues.fifo:
            self._leave_mark(url, delayed)
        return self._remove_ready(url) + delayed

    def kept(self, came: Sequence[Arrival]) -> Sequence[Arrival]:
        """Remove what was delayed when the queue was purged, and return the rest."""
        if not any(one.note.delayed for one in came):
            return came
        mark = self._last()
        # one that had been handed out before was leased or ready then
        dropped = [one for one in came if one.note.delayed and one.sent < mark <= one.first]
        remove(self._queues, [one.handle for one in dropped])
        return [one for one in came if one not in dropped]

    def delayed(self, told: dict[str, str]) -> int:
        """Return how many messages are delayed and not purged, by the attributes of the queue."""
        count = int(told.get("ApproximateNumberOfMessagesDelayed", 0))
        if count:
            mark, purged = self._tag()
            if time.time() - mark <= LONGEST_DELAY:
                count = max(0, count - purged)
        return count

    def _last(self) -> float:
        if time.monotonic() - self._looked > _TRUST:
            self._mark, _ = self._tag()
            self._looked = time.monotonic()
        return self._mark

    def _tag(self) -> tuple[float, int]:
        """Return when the queue was purged last, and how many messages were delayed then."""
        if not self._told:
            return 0.0, 0
        try:
            told = self._queues.link.ask("list_queue_tags", QueueUrl=self._queues.main()).get("Tags", {})
        except boto.ClientError as exc:
            if error_mapping.passes(exc):
                raise error_mapping.answered(exc, self._queues.link.place) from exc
            self._told = False
            _log.warning(
                "tags of the queue cannot be read, so no purge is known: %s", error_mapping.reply_code(exc)
            )
            return 0.0, 0
        with contextlib.suppress(ValueError):
            mark, _, count = told.get(_TAG, "").partition("/")
            return int(mark) / 1000, int(count)
        return 0.0, 0

    def _leave_mark(self, url: str, delayed: int) -> None:
        before, purged = self._tag()
        if time.time() - before <= LONGEST_DELAY:
            delayed += purged
        answer = self._queues.link.call("get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])
        value = f"{round(_now(answer) * 1000)}/{delayed}"
        self._queues.link.call("tag_queue", QueueUrl=url, Tags={_TAG: value})
        self._looked = -_TRUST

    def _remove_ready(self, url: str) -> int:
        count = empty = 0
        # a short look asks some of SQS's servers only
        while empty < 2:
            answer = self._queues.link.call(
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
    """Return the epoch seconds by SQS's clock, as fine as they can be had."""
    ours = time.time()
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return ours
    return ours if abs(ours - theirs) < _SKEW else theirs
