"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """An order."""

    title = models.CharField(max_length=80)
    paid = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.title


class Note(models.Model):
    """What a callback or a signal wrote down."""

    text = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.text
