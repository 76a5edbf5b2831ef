"""Decides which options the SDK gets."""

from __future__ import annotations

import importlib
from typing import Any, Final

from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.utils import BadDsn, Dsn

from qcore.errors import ConfigError

#: options that are functions, or lists of objects: in a file they are dotted paths
_FUNCTIONS: Final = frozenset(
    {
        "before_breadcrumb",
        "before_send",
        "before_send_log",
        "before_send_transaction",
        "error_sampler",
        "profiles_sampler",
        "traces_sampler",
    }
)
_OBJECTS: Final = frozenset({"integrations", "disabled_integrations"})


def read(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the SDK; those written as dotted paths are imported.

    Raises:
        ConfigError: with all problems.

    """
    options, wrong = {}, []
    for key, value in settings.items():
        path = f"error_reporter.sentry.{key}"
        try:
            options[key] = _option(key, value)
        except BadDsn as exc:
            wrong.append(f"{path}: it is not a DSN: {exc}; it looks like https://KEY@HOST/PROJECT")
        except (ImportError, AttributeError, ValueError) as exc:
            wrong.append(f"{path}: got {value!r}; it cannot be imported: {exc}; give a dotted path")
        except LookupError:
            wrong.append(f"{path}: the SDK has no such option; its documentation lists them")
    if wrong:
        raise ConfigError(wrong)
    return options


def _option(key: str, value: Any) -> Any:  # noqa: ANN401 - the SDK's options are of any type
    if key not in DEFAULT_OPTIONS and key != "dsn":
        raise LookupError(key)
    if key == "dsn" and value:
        Dsn(value)
    if key in _FUNCTIONS and isinstance(value, str):
        return _imported(value)
    if key in _OBJECTS and isinstance(value, list | tuple):
        return [_imported(one)() if isinstance(one, str) else one for one in value]
    return value


def _imported(dotted: str) -> Any:  # noqa: ANN401 - as above
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)
