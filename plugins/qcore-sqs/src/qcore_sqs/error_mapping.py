"""Decides which error of qcore an error of SQS becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from qcore.errors import BackendError


class AnswerLost(BackendUnavailable):
    """It is not known whether SQS processed the request."""


#: codes of a throttled request, which was not processed and may be repeated
THROTTLED: Final = frozenset(
    {
        "KmsThrottled",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
#: codes for a lease that has ended or never existed
LEASE_ENDED: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
#: codes for a queue that does not exist
MISSING: Final = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
#: code -> text of an error that may pass
_TRANSIENT: Final = {
    "OverLimit": "the queue has as many leased messages as SQS allows; let the workers finish some",
    "QueueDeletedRecently": "the queue was deleted within the last minute; create it again after that",
    "ExpiredToken": "the temporary credentials have expired; renew them",
    "ExpiredTokenException": "the temporary credentials have expired; renew them",
    "InternalError": "it has an internal error; try again",
    "InternalFailure": "it has an internal error; try again",
    "ServiceUnavailable": "it is unavailable; try again",
    "RequestTimeout": "it did not receive the request in time; try again",
}
#: code -> text of an error that repeating does not help
_PERMANENT: Final = {
    "AccessDenied": "these credentials have no permission for this; see the README of qcore-sqs",
    "AccessDeniedException": "these credentials have no permission for this; see the README of qcore-sqs",
    "KmsAccessDenied": "these credentials may not use the queue's key; allow Decrypt and GenerateDataKey",
    "KmsDisabled": "the queue's key is disabled; see `KmsMasterKeyId` of the queue",
    "InvalidClientTokenId": "it does not know this access key; see `sqs.aws_access_key_id`",
    "UnrecognizedClientException": "it does not know this access key; see `sqs.aws_access_key_id`",
    "InvalidAccessKeyId": "it does not know this access key; see `sqs.aws_access_key_id`",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; see `sqs.aws_secret_access_key`",
    "AuthFailure": "it does not accept these credentials",
    "RequestExpired": "the clock of this machine is wrong by more than five minutes; correct it",
    "QueueNameExists": "a queue of this name has other attributes; see `sqs.attributes`",
    "QueueAlreadyExists": "a queue of this name has other attributes; see `sqs.attributes`",
}
_TOO_LARGE: Final = frozenset({"BatchRequestTooLong", "MessageTooLong"})


def code_of(code: str) -> str:
    """Return the code of an error without the prefix of the protocol."""
    return code.rpartition("#")[2].rpartition(".")[2]


def reply_code(error: boto.ClientError) -> str:
    """Return the code of the error in an answer."""
    return code_of(str(error.response.get("Error", {}).get("Code", "")))


def is_transient(error: boto.ClientError) -> bool:
    """Return whether the same request may succeed later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = reply_code(error)
    return code in THROTTLED or code in _TRANSIENT or status == 429 or status >= 500


def nothing_was_done(error: boto.ClientError, *, sending: bool) -> bool:
    """Return whether SQS did not process a request, so that it may be repeated at once.

    If SQS is unavailable, only `sending` requests are repeated; all others are repeated anyway.
    """
    code = reply_code(error)
    return code in THROTTLED or (sending and code == "ServiceUnavailable")


def rejected(code: str, text: str, address: str, *, transient: bool = False) -> BackendError:
    """Return the error to raise for a code and a text of SQS."""
    details = f"({code}: {text})" if text else f"({code})"
    if code in THROTTLED:
        return BackendUnavailable(
            f"SQS at {address} throttles requests; wait a while before the next one {details}"[:500]
        )
    if code in MISSING:
        return BackendUnavailable(f"the queue at {address} does not exist {details}"[:500])
    if code in _TOO_LARGE or "must be shorter than" in text:
        return PayloadTooLarge(
            f"SQS at {address} refuses the message as too large; raise MaximumMessageSize of the queue or"
            f" pass a reference instead of the data {details}"[:500]
        )
    if code in _PERMANENT:
        return BackendRejected(f"SQS at {address} refuses: {_PERMANENT[code]} {details}"[:500])
    if code in _TRANSIENT or transient:
        why = _TRANSIENT.get(code, "it has an internal error; try again")
        return BackendUnavailable(f"SQS at {address} refuses: {why} {details}"[:500])
    return BackendRejected(f"SQS at {address} refuses {details}"[:500])


def from_answer(error: boto.ClientError, address: str) -> BackendError:
    """Return the error to raise for an error in SQS's answer."""
    text = str(error.response.get("Error", {}).get("Message", ""))
    return rejected(reply_code(error), text, address, transient=is_transient(error))


def from_failure(error: boto.BotoCoreError, address: str, if_unknown: str = "") -> BackendError:
    """Return the error to raise for a request that was not sent or not answered."""
    if isinstance(error, boto.NoRegionError):
        return BackendRejected(
            "sqs.aws_region: missing, and boto3 finds no region; set it, or AWS_DEFAULT_REGION"
        )
    if isinstance(error, boto.NoCredentialsError):
        return BackendRejected(
            "no AWS credentials: set sqs.aws_access_key_id and sqs.aws_secret_access_key, or give them in "
            "any way that boto3 supports (AWS_ACCESS_KEY_ID, a profile, a role)"
        )
    if _is_unsendable(error):
        return BackendRejected(
            "the request cannot be sent; check whether the credentials that boto3 finds contain a space or a "
            "line end"
        )
    if isinstance(error, boto.InvalidRegionError):
        return BackendRejected(
            "sqs.aws_region: the region that boto3 finds is not valid; see AWS_DEFAULT_REGION"
        )
    if isinstance(error, _UNUSABLE):
        return BackendRejected(f"boto3 cannot use the settings of `sqs`: {error}"[:500])
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return BackendRejected(f"SQS at {address} is not trusted: {_text(error)}; see AWS_CA_BUNDLE"[:500])
    kind = BackendUnavailable if isinstance(error, _UNSENT) else AnswerLost
    text = _text(error)
    text += if_nobody_listens(text, "`sqs`")
    return kind(f"SQS at {address} does not answer: {text}{if_unknown and '; '}{if_unknown}"[:500])


def safe_cause(error: boto.BotoCoreError) -> boto.BotoCoreError | None:
    """Return the cause to show, None if its text may contain a password."""
    secret = isinstance(error, boto.InvalidRegionError) or _is_unsendable(error)
    return None if secret or _text(error) != str(error) else error


def _text(error: boto.BotoCoreError) -> str:
    """Return the text of an error, without user and password of the endpoint's URL."""
    url = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    scheme, mark, rest = url.partition("://")
    return str(error).replace(url, scheme + mark + rest.rpartition("@")[2]) if url else str(error)


#: the request did not leave this machine
_UNSENT: Final[tuple[type[boto.BotoCoreError], ...]] = (
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
)


_UNUSABLE: Final[tuple[type[boto.BotoCoreError], ...]] = (
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ParamValidationError,
    boto.UnknownServiceError,
)


def interruption(error: boto.HTTPClientError) -> BaseException | None:
    """Return the exception of a signal handler that botocore has wrapped, None if it is another one."""
    inner: Any = error.kwargs.get("error")
    if type(error) is not boto.HTTPClientError or not isinstance(inner, BaseException):
        return None
    theirs = type(inner).__module__.partition(".")[0] in {"botocore", "http", "ssl", "urllib3"}
    return None if theirs or isinstance(inner, (OSError, ValueError)) else inner


def _is_unsendable(error: boto.BotoCoreError) -> bool:
    """Return whether a header contains an invalid character, which the error's text would show."""
    return isinstance(error, boto.HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError)
