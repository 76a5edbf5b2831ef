"""Migrates the tables of the key `orm` to version 3."""

from django.db import migrations

from qcore_django.orm.creation import MigrateTables


class Migration(migrations.Migration):
    """Queues of tasks."""

    dependencies = (("qcore_django", "model_state"),)
    operations = (MigrateTables(3),)
