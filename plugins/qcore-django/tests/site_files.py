"""What the site of the end-to-end tests consists of, beside what `startproject` makes."""

SETTINGS = """
INSTALLED_APPS += ["qcore_django", "shop"]
DATABASES["default"]["OPTIONS"] = {"timeout": 60}
Q_CLUSTER = {
    "name": "site",
    "workers": 1,
    "guard_cycle": 0.1,
    "max_attempts": 1,
    "ALT_CLUSTERS": {"reports": {"workers": 1}},
}
"""
APPS = """
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from django.db import connection

        # a connection that a fork would share
        connection.ensure_connection()
"""
MODELS = """
from django.db import models


class Order(models.Model):
    title = models.CharField(max_length=80)
    paid = models.BooleanField(default=False)
"""
MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.CharField(max_length=80)),
                ("paid", models.BooleanField(default=False)),
            ],
        )
    ]
"""
TASKS = """
import os
import time

from django.db import connection, transaction
from django.utils import timezone, translation

from qcore import cron
from qcore_django import app, task
from shop.models import Order


@task
def pay(number):
    order = Order.objects.get(pk=number)
    order.paid = True
    order.save()
    return order.title, os.getpid()


@task(schedule=cron("0 4 * * *"))
def nightly():
    return "night"


@task
def speak_french():
    translation.activate("fr")
    timezone.activate("Asia/Tokyo")
    transaction.atomic().__enter__()
    Order.objects.create(title="never committed")
    return translation.get_language()


@task
def surroundings():
    return {
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "atomic": connection.in_atomic_block,
        "opened": connection.connection is not None,
        "orders": Order.objects.count(),
        "queries": len(connection.queries),
        "queue": app.config.name,
    }
"""
FILES = {
    "shop/__init__.py": "",
    "shop/apps.py": APPS,
    "shop/models.py": MODELS,
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": MIGRATION,
    "shop/tasks.py": TASKS,
}
