"""Exports the models that Django-Q has, over the stores of qcore."""

from qcore_django.models.queued import DeadLetter, OrmQ
from qcore_django.models.schedule import Schedule
from qcore_django.models.task import Failure, Success, Task

__all__ = ["DeadLetter", "Failure", "OrmQ", "Schedule", "Success", "Task"]
