"""Knows the models over the tables; changes no table."""

# Its name has no number: those of the others are the versions of the tables. The next one depends on it.

from types import MappingProxyType
from typing import Final

from django.db import migrations, models

from qcore_django.models.fields import LetterId, TaskId

#: model -> table, names, order, key; only the options of a model without a table of its own are compared
_TABLES: Final = MappingProxyType(
    {
        "DeadLetter": (
            "qcore_dead_letter",
            "dead letter",
            ["-id"],
            LetterId(primary_key=True, db_column="seq"),
        ),
        "OrmQ": (
            "qcore_message",
            "queued task",
            ["lock", "id"],
            models.BigIntegerField(primary_key=True, db_column="seq"),
        ),
        "Schedule": (
            "qcore_schedule",
            "scheduled task",
            ["next_run"],
            models.CharField(primary_key=True, max_length=200),
        ),
        "Task": ("qcore_result", "task", ["-stopped"], TaskId(primary_key=True)),
    }
)


def _options(title: str, order: list[str]) -> dict[str, object]:
    return {"verbose_name": title, "verbose_name_plural": f"{title}s", "ordering": order}


class Migration(migrations.Migration):
    """The models Task, Success, Failure, Schedule, OrmQ and DeadLetter."""

    dependencies = (("qcore_django", "0002_vacuum"),)
    operations = (
        *(
            migrations.CreateModel(
                name, [("id", key)], {**_options(title, order), "db_table": table, "managed": False}
            )
            for name, (table, title, order, key) in _TABLES.items()
        ),
        *(
            migrations.CreateModel(
                name, [], {**_options(title, ["-stopped"]), "proxy": True}, bases=("qcore_django.task",)
            )
            for name, title in (("Failure", "failed task"), ("Success", "successful task"))
        ),
    )
