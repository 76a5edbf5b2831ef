"""Decides what a fault of SQS means to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it comes without types

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge

if TYPE_CHECKING:
    from qcore.errors import BackendError


class AnswerLost(BackendUnavailable):
    """Whether SQS did what it was asked to do is not known."""


#: it has too much to do: nothing was done, and the same may be asked later
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
#: the lease is over, or never was one
GONE: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
#: the queue is not there
MISSING: Final = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
#: code -> what to tell; a later call may find it gone
_PASSING: Final = {
    "OverLimit": "as many messages are leased as it allows for one queue; let the workers finish some",
    "QueueDeletedRecently": "the queue was deleted within the last minute; it can be made again after that",
    "ExpiredToken": "the temporary credentials have expired; renew them",
    "ExpiredTokenException": "the temporary credentials have expired; renew them",
    "InternalError": "it has a fault of its own",
    "InternalFailure": "it has a fault of its own",
    "ServiceUnavailable": "it is out of order",
    "RequestTimeout": "it did not get the request in time",
}
#: code -> what to tell; asking again does not help
_LASTING: Final = {
    "AccessDenied": "these credentials may not do this; the README of qcore-sqs lists what is needed",
    "AccessDeniedException": "these credentials may not do this; the README of qcore-sqs lists what it needs",
    "KmsAccessDenied": "these credentials may not use the queue's key; it takes Decrypt and GenerateDataKey",
    "KmsDisabled": "the queue's key is disabled; see `KmsMasterKeyId` of the queue",
    "InvalidClientTokenId": "it does not know this access key; see `sqs.aws_access_key_id`",
    "UnrecognizedClientException": "it does not know this access key; see `sqs.aws_access_key_id`",
    "InvalidAccessKeyId": "it does not know this access key; see `sqs.aws_access_key_id`",
    "SignatureDoesNotMatch": "the secret key does not fit the access key; see `sqs.aws_secret_access_key`",
    "AuthFailure": "it does not take these credentials",
    "RequestExpired": "the clock of this machine is wrong by more than five minutes; set it",
    "QueueNameExists": "there is a queue of this name with other attributes; see `sqs.attributes`",
    "QueueAlreadyExists": "there is a queue of this name with other attributes; see `sqs.attributes`",
}
_TOO_LARGE: Final = frozenset({"BatchRequestTooLong", "MessageTooLong"})


def code_of(told: str) -> str:
    """Return an error's name, however the protocol dresses it."""
    return told.rpartition("#")[2].rpartition(".")[2]


def reply_code(error: boto.ClientError) -> str:
    """Return the name of the error a request was answered with."""
    return code_of(str(error.response.get("Error", {}).get("Code", "")))


def passes(error: boto.ClientError) -> bool:
    """Return whether the same request may be taken later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = reply_code(error)
    return code in THROTTLED or code in _PASSING or status == 429 or status >= 500


def undone(error: boto.ClientError, *, sending: bool) -> bool:
    """Return whether nothing was done, so that the same request may be repeated at once.

    Only what sends is repeated where SQS is out of order: all else is asked again anyway.
    """
    code = reply_code(error)
    return code in THROTTLED or (sending and code == "ServiceUnavailable")


def refused(code: str, text: str, place: str, *, passing: bool = False) -> BackendError:
    """Return the error to raise for what SQS answered."""
    told = f"({code}: {text})" if text else f"({code})"
    if code in THROTTLED:
        return BackendUnavailable(
            f"SQS at {place} is asked too much and has to be left alone for a while {told}"[:500]
        )
    if code in MISSING:
        return BackendUnavailable(f"the queue at {place} is gone {told}"[:500])
    if code in _TOO_LARGE or "must be shorter than" in text:
        return PayloadTooLarge(
            f"SQS at {place} finds the message too large; raise MaximumMessageSize of the queue or pass a "
            f"reference instead of the data {told}"[:500]
        )
    if code in _LASTING:
        return BackendRejected(f"SQS at {place} refuses: {_LASTING[code]} {told}"[:500])
    if code in _PASSING or passing:
        why = _PASSING.get(code, "it has a fault of its own")
        return BackendUnavailable(f"SQS at {place} refuses: {why} {told}"[:500])
    return BackendRejected(f"SQS at {place} refuses {told}"[:500])


def answered(error: boto.ClientError, place: str) -> BackendError:
    """Return the error to raise for a request that was answered with one."""
    text = str(error.response.get("Error", {}).get("Message", ""))
    return refused(reply_code(error), text, place, passing=passes(error))


def lost(error: boto.BotoCoreError, place: str, doubt: str = "") -> BackendError:
    """Return the error to raise for a request that was not answered, or never left."""
    if isinstance(error, boto.NoRegionError):
        return BackendRejected("sqs.aws_region: missing, and boto3 finds none; set it, or AWS_DEFAULT_REGION")
    if isinstance(error, boto.NoCredentialsError):
        return BackendRejected(
            "no AWS credentials: set sqs.aws_access_key_id and sqs.aws_secret_access_key, or give them in "
            "any way boto3 knows (AWS_ACCESS_KEY_ID, a profile, a role)"
        )
    if _is_unsendable(error):
        return BackendRejected(
            "the request cannot be sent; of the credentials that boto3 finds, is there a space or an end of "
            "line in them?"
        )
    if isinstance(error, boto.InvalidRegionError):
        return BackendRejected("sqs.aws_region: boto3 finds none that can be one; see AWS_DEFAULT_REGION")
    if isinstance(error, _UNUSABLE):
        return BackendRejected(f"`sqs` is of no use to boto3: {error}"[:500])
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return BackendRejected(f"SQS at {place} is not trusted: {_words(error)}; see AWS_CA_BUNDLE"[:500])
    kind = BackendUnavailable if isinstance(error, _UNSENT) else AnswerLost
    return kind(f"SQS at {place} does not answer: {_words(error)}{doubt and '; '}{doubt}"[:500])


def bare(error: boto.BotoCoreError) -> boto.BotoCoreError | None:
    """Return the cause to show, None if its words may hold a password."""
    telling = isinstance(error, boto.InvalidRegionError) or _is_unsendable(error)
    return None if telling or _words(error) != str(error) else error


def _words(error: boto.BotoCoreError) -> str:
    """Return what an error says, without user and password of the endpoint's URL."""
    url = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    scheme, mark, rest = url.partition("://")
    return str(error).replace(url, scheme + mark + rest.rpartition("@")[2]) if url else str(error)


#: nothing left this machine
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
    """Return what a signal handler raised amid a request, where botocore has wrapped it."""
    inner: Any = error.kwargs.get("error")
    if type(error) is not boto.HTTPClientError or not isinstance(inner, BaseException):
        return None
    theirs = type(inner).__module__.partition(".")[0] in {"botocore", "http", "ssl", "urllib3"}
    return None if theirs or isinstance(inner, (OSError, ValueError)) else inner


def _is_unsendable(error: boto.BotoCoreError) -> bool:
    """Return whether a header has what no header may have; the error shows it."""
    return isinstance(error, boto.HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError)
