"""Registers the pages of the admin, under the label of the settings."""

from django.contrib import admin

from qcore_django.admin.queued import DeadLetterAdmin, OrmQAdmin
from qcore_django.admin.results import FailureAdmin, SuccessAdmin
from qcore_django.admin.schedules import ScheduleAdmin
from qcore_django.models import DeadLetter, Failure, OrmQ, Schedule, Success

admin.site.register(Success, SuccessAdmin)
admin.site.register(Failure, FailureAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(OrmQ, OrmQAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)

__all__ = ["DeadLetterAdmin", "FailureAdmin", "OrmQAdmin", "ScheduleAdmin", "SuccessAdmin"]
