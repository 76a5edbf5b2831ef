"""Settings of the site that the tests of this package run in."""

SECRET_KEY = "the-key-of-the-site-under-test-0123456789-0123456789"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "qcore_django"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    # a test names its file
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": "absent"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
LOGGING_CONFIG = None
