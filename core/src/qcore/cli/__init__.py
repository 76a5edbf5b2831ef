"""The command line; its exit codes are stable.

| code | meaning |
|---|---|
| 0 | done |
| 1 | what was asked for failed: a task failed, your module cannot be imported, nothing has that id |
| 2 | the command line cannot be understood |
| 69 | the broker or store does not answer, or there is no queue |
| 70 | a fault in qcore itself |
| 75 | the task has no final result yet |
| 78 | the configuration is not valid, or a plugin it needs cannot be used |
| 130 | interrupted by Ctrl-C |
"""

from qcore.cli.exit_codes import Exit
from qcore.cli.group import command, main

__all__ = ["Exit", "command", "main"]
