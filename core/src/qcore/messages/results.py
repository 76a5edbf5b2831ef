"""Decides how results become signed records and back."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.compared import KIND_SUCCESS
from qcore.errors import (
    INTERRUPTS,
    BackendRejected,
    DecodeError,
    EncodeError,
    MalformedMessage,
    PayloadTooLarge,
    UnknownKey,
)
from qcore.messages.sealer import Sealer
from qcore.model import Kind, Outcome, Result, State, StoredResult
from qcore.status import Progress  # noqa: TC001 - read at run time by msgspec
from qcore_cells.suspects import split
from qcore_text.wording import reason
from qcore_values.foreign import Unresolved, as_written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import Serializer
    from qcore.messages.envelope import Opened
    from qcore.messages.head import Head

#: Most characters of indexed text, so that a long name does not prevent storing a record.
_INDEXED = 256
#: Most characters of an error in the reduced record of a task whose record was refused.
_LEAST = 1000


class Begun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is needed to go on from a task whose cluster died after it had begun."""

    #: of its message, encoded
    head: bytes
    #: its workflow header, encoded; empty = it has none
    tail: bytes
    #: flag that the cluster which runs it keeps while it lives
    sign: str


class ResultBody(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The signed part of a result; new fields are added at the end with a default."""

    state: State
    name: str
    #: serialised value; empty = None
    value: bytes = b""
    serializer: int = 0
    error: str = ""
    traceback: str = ""
    group: str | None = None
    label: str | None = None
    attempts: int = 1
    crashes: int = 0
    #: epoch seconds
    enqueued: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    worker: str = ""
    #: a value of `Kind`
    kind: str = ""
    #: the last that the run reported
    progress: Progress | None = None
    #: of a task that may run only once and has not ended
    begun: Begun | None = None
    #: as serialised, code of the serializer, whether some are named
    arguments: tuple[bytes, int, bool] | None = None


#: what the reduced record of a task lacks
_REDUCED: Final[dict[str, Any]] = dict.fromkeys(("group", "label", "progress", "begun", "arguments")) | {
    "value": b"", "serializer": 0, "traceback": "",
}  # fmt: skip

encode_result = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(ResultBody).decode


def decode_result(data: bytes) -> ResultBody:
    """Decode the signed part of a result.

    Raises:
        MalformedMessage: it is not a result of a known version.

    """
    try:
        return _decode_result(data)
    except (msgspec.MsgspecError, ValueError) as exc:
        msg = f"not a result of a known version: {exc}"
        raise MalformedMessage(msg) from exc


class Results:
    """Signs and reads the results of one queue."""

    def __init__(
        self,
        secrets: Sequence[str],
        name: str,
        serializer: Serializer,
        serializers: Mapping[int, Serializer],
        *,
        max_result: int,
        ttl: float,
        keep_arguments: bool = False,
        whose: str = "the serializer",
        whence: str = "",
    ) -> None:
        #: where the keys come from, as messages name it
        self._whence = whence
        self._sealer = Sealer(secrets, "result", name)
        self._dumps = serializer.dumps
        #: what messages call the serializer
        self._whose = whose
        self._code = serializer.code
        self._serializers = serializers
        self._max_result = max_result
        self._ttl = ttl
        self._max_arguments = max_result if keep_arguments else -1
        self._host = socket.gethostname()
        #: `host:pid` of this process, and the pid for which it was computed
        self._worker, self._pid = "", 0

    def dump(
        self, outcome: Outcome, declared: Callable[[object], object] | None = None
    ) -> tuple[Outcome, bytes]:
        """Return the value of a success as bytes, or a failed outcome if it cannot be stored.

        Args:
            outcome: how the run ended.
            declared: returns what a refused value becomes by the annotations of its task.

        """
        if outcome.kind is not KIND_SUCCESS or outcome.value is None:
            return outcome, b""
        try:
            try:
                value = self._dumps(outcome.value)
            except EncodeError:
                if declared is None:
                    raise
                value = self._dumps(declared(outcome.value))
            if len(value) > self._max_result:
                msg = (
                    f"the result has {len(value)} bytes, max_result allows {self._max_result}; "
                    "store it elsewhere and return a reference"
                )
                raise PayloadTooLarge(msg)  # noqa: TRY301 - becomes the failure below
        except INTERRUPTS:
            raise
        except BaseException as exc:  # noqa: BLE001 - a serializer runs code of its own and of the value
            known = isinstance(exc, (EncodeError, PayloadTooLarge))
            why = str(exc) if known else f"{self._whose} raised {reason(exc)}"
            text = f"the task returned, but its result cannot be stored: {why}"
            failed = Outcome(
                Kind.RESULT_NOT_STORABLE,
                error=text,
                started=outcome.started,
                finished=outcome.finished,
                retryable=False,
            )
            return failed, b""
        return outcome, value

    def seal(
        self,
        id: bytes,
        head: Head,
        state: State,
        outcome: Outcome,
        value: bytes,
        *,
        created: int,
        attempts: int,
        crashes: int,
        progress: Progress | None = None,
        message: Opened | None = None,
    ) -> StoredResult:
        """Return the record of one run.

        Args:
            id: 16 bytes.
            head: of the message.
            state: rank of the record.
            outcome: how the run ended.
            value: serialised, from `dump`.
            created: epoch milliseconds of the enqueuing.
            attempts: runs that ended by themselves or by timeout, this one included.
            crashes: runs that killed their worker, this one included.
            progress: the last that the run reported.
            message: the message, if it is known.

        """
        kept = None
        if message is not None and len(message.arguments) <= self._max_arguments:
            kept = (message.arguments, message.serializer, message.named)
        if self._pid != (pid := os.getpid()):
            self._worker, self._pid = f"{self._host}:{pid}", pid
        body = encode_result(
            ResultBody(
                state, head.name, value, self._code if value else 0, outcome.error, outcome.traceback,
                head.group, head.label, attempts, crashes, created / 1000, outcome.started, outcome.finished,
                self._worker, outcome.kind._value_, progress, None, kept,
            )
        )  # fmt: skip
        ttl = self._ttl if head.result_ttl is None else head.result_ttl
        return StoredResult(
            id,
            state,
            self._sealer.seal(id, body),
            head.name[:_INDEXED],
            head.group[:_INDEXED] if head.group else None,
            outcome.finished,
            outcome.finished + ttl if ttl else 0.0,
            head.label[:_INDEXED] if head.label else None,
        )

    def reduced(self, record: StoredResult, refusal: BackendRejected) -> StoredResult:
        """Return a smaller record of how a task ended, for a record that a store refuses."""
        body = self.open(record.id, record.body)
        text = body.error.partition("\n")[0]
        if body.state is State.SUCCESS:
            text = f"the task returned, but its result cannot be stored: {refusal}"
        state = State.FAILED if body.state is State.SUCCESS else body.state
        kind = Kind.RESULT_NOT_STORABLE.value if body.state is State.SUCCESS else body.kind
        name, replace = body.name[:_INDEXED], msgspec.structs.replace
        least = replace(body, state=state, name=name, error=text[:_LEAST], kind=kind, **_REDUCED)
        sealed = self._sealer.seal(record.id, encode_result(least))
        return replace(record, state=state, body=sealed, name=name, group=None, label=None)

    def begun(self, record: StoredResult, begun: Begun) -> StoredResult:
        """Return the record of a task that has begun with what its end needs if its cluster dies."""
        body = msgspec.structs.replace(self.open(record.id, record.body), begun=begun)
        return msgspec.structs.replace(record, body=self._sealer.seal(record.id, encode_result(body)))

    def reseal(self, record: StoredResult) -> StoredResult:
        """Return a record sealed with the first key, whichever key sealed it.

        Raises:
            EnvelopeError: its seal is not valid; see `open`.

        """
        data = self._sealer.open(record.id, record.body)
        return msgspec.structs.replace(record, body=self._sealer.seal(record.id, data))

    def open(self, id: bytes, sealed: bytes) -> ResultBody:
        """Verify and decode the signed part of a record; its value stays serialised.

        Raises:
            BadSignature: it was altered, or belongs to another task or queue.
            UnknownKey: it was signed with a key that is not configured.
            MalformedMessage: it is not a result of a known version.

        """
        try:
            return decode_result(self._sealer.open(id, sealed))
        except UnknownKey as exc:
            whence = f"; this process has its key from {self._whence}" if self._whence else ""
            msg = f"result {id.hex()} was signed with a key that is not in secret_key{whence}"
            raise UnknownKey(msg) from exc

    def read(self, stored: StoredResult) -> Result:
        """Verify and decode a record; see `open`.

        Raises:
            DecodeError: its serializer is not accepted here.

        """
        return self.result(stored.id, self.open(stored.id, stored.body))

    def result(self, id: bytes, body: ResultBody) -> Result:
        """Return the result that users get for a record.

        A value of another package's type that cannot be made, because a database has it no more, is
        there as it was written, so that it hides no other result.

        Raises:
            DecodeError: its serializer is not accepted here.

        """
        fields = msgspec.structs.asdict(body)
        del fields["begun"]
        # A suspicion is not a crash, see `counts_in_results`.
        fields["crashes"], _ = split(body.crashes)
        # The others have the same names for whoever reads a result.
        serializer = fields.pop("serializer")
        try:
            fields["value"] = self.value(serializer, body.value)
        except Unresolved:
            with as_written():
                fields["value"] = self.value(serializer, body.value)
        return Result(id=id.hex(), **fields)

    def value(self, code: int, data: bytes) -> object:
        """Return the deserialised value, None for no bytes.

        Raises:
            DecodeError: its serializer is not accepted here, or cannot read it.

        """
        if not data:
            return None
        serializer = self._serializers.get(code)
        if serializer is None:
            msg = f"the result was written by serializer {code}, which `accept_serializers` does not list"
            raise DecodeError(msg)
        return serializer.loads(data)
