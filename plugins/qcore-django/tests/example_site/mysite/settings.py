"""Settings of a site that is on Django-Q."""

import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "the-key-of-the-example-site-0123456789-0123456789"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_q", "shop"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "site.db",
        "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
Q_CLUSTER = {
    "name": "Example Site",
    "workers": 1,
    "recycle": 500,
    "timeout": 60,
    "retry": 120,
    "compress": True,
    "save_limit": 250,
    "label": "Background",
    "orm": "default",
    "sync": "test" in sys.argv,
}
