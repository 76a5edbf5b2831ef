"""Creates the tables of the key `orm`."""

from django.db import migrations

from qcore_django.orm.creation import CreateTables


class Migration(migrations.Migration):
    """The tables of qcore-sql."""

    initial = True
    operations = (CreateTables(),)
