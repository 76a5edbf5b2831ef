"""Decides which failures one reporter gets."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from qcore.errors import ConfigError
from qcore_text.wording import fault, listed, shown

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport


#: `every` failed run, only the `final` failure of a task, or `never`
_WHEN: Final = frozenset({"every", "final", "never"})
#: `ErrorReport.action` of a run that is followed by another
_RETRY: Final = "retry"


@attrs.frozen(kw_only=True)
class Policy:
    """The settings that every reporter has, whoever wrote it."""

    #: pattern of tasks' names -> a word of `_WHEN`
    report_on: Mapping[str, str] = attrs.field(factory=dict)
    #: names of exceptions, with or without their module
    ignore: frozenset[str] = frozenset()
    send_arguments: bool = False

    @classmethod
    def read(cls, name: str, settings: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the policy in a reporter's settings, and the settings that are its own.

        Raises:
            ConfigError: a value is not valid.

        """
        own = dict(settings)
        wrong = []
        when = own.pop("report_on", {})
        table = dict(when) if isinstance(when, Mapping) else {"*": when}
        if not all(isinstance(key, str) and one in _WHEN for key, one in table.items()):
            what = f"must be {listed(_WHEN)}, or a table of these by patterns of tasks' names"
            wrong.append(_fault(name, "report_on", when, what))
        ignore = own.pop("ignore", ())
        if not isinstance(ignore, list | tuple) or not all(isinstance(one, str) for one in ignore):
            wrong.append(_fault(name, "ignore", ignore, "must be a list of names of exceptions"))
        send = own.pop("send_arguments", False)
        if not isinstance(send, bool):
            wrong.append(_fault(name, "send_arguments", send, "must be true or false"))
        if wrong:
            raise ConfigError(wrong)
        return cls(report_on=table, ignore=frozenset(ignore), send_arguments=send), own

    def wants(self, report: ErrorReport) -> bool:
        """Return whether a reporter with this policy gets a failure."""
        if report.action:
            when = self._when(report.task.name)
            if when == "never" or (when == "final" and report.action == _RETRY):
                return False
        return not (self.ignore and self._is_ignored(report))

    def _when(self, task: str) -> str:
        """Return the word for a task: that of the longest pattern that fits its name."""
        fitting = [pattern for pattern in self.report_on if fnmatchcase(task, pattern)]
        return self.report_on[max(fitting, key=len)] if fitting else "every"

    def _is_ignored(self, report: ErrorReport) -> bool:
        if report.error is None:
            return report.error_type in self.ignore
        names = {kind.__qualname__ for kind in type(report.error).__mro__}
        names |= {f"{kind.__module__}.{kind.__qualname__}" for kind in type(report.error).__mro__}
        return not self.ignore.isdisjoint(names)


def _fault(reporter: str, key: str, value: object, what: str) -> str:
    return fault(f"error_reporter.{reporter}.{key}", shown(value), what)
