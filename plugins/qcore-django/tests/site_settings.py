"""Settings of the site that the tests of this package run in."""

import json
import os

SECRET_KEY = "the-key-of-the-site-under-test-0123456789-0123456789"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "qcore_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "site_urls"
STATIC_URL = "/static/"
ALLOWED_HOSTS = ["testserver"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    # a test names its file
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": "absent"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
LOGGING_CONFIG = None
TASKS = {
    "default": {
        "BACKEND": "qcore_django.backend.QcoreBackend",
        "QUEUES": ["default", "reports"],
        "OPTIONS": {"ack_failure": True},
    },
    "apart": {
        "BACKEND": "qcore_django.backend.QcoreBackend",
        # any queue
        "QUEUES": [],
        "OPTIONS": {"cluster": "apart"},
    },
}
# what a test's workers are to read
CACHES = json.loads(
    os.environ.get("SITE_CACHES", '{"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}')
)
Q_CLUSTER = json.loads(os.environ.get("SITE_Q_CLUSTER", "{}"))
