"""Migrates the tables of the key `orm` to version 2."""

from django.db import migrations

from qcore_django.orm.creation import MigrateTables


class Migration(migrations.Migration):
    """How PostgreSQL removes dead rows of messages."""

    dependencies = (("qcore_django", "0001_tables"),)
    operations = (MigrateTables(2),)
