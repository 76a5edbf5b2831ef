"""The admin of a site whose cluster runs a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow

TASKS = """

@task
def climb(end):
    progress(3, total=12, note="<slowly>")
    while not os.path.exists(end):
        time.sleep(0.02)
    progress(12, total=12)
"""
PROGRAM = """
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

settings.ALLOWED_HOSTS.append("testserver")
client = Client()
client.force_login(User.objects.create_superuser("admin"))

def page(rest):
    return client.get(f"/admin/qcore_django/{rest}").content.decode()

sent = climb.enqueue({end!r})
deadline = time.monotonic() + 60
while "<progress" not in (listed := page("ormq/")) and time.monotonic() < deadline:
    time.sleep(0.1)
(key,) = re.findall(r'/admin/qcore_django/ormq/(\\d+)/change/', listed)
single = page(f"ormq/{key}/change/")
open({end!r}, "w").close()
sent.result(wait=60)
answer = [listed, single, page(f"success/{sent.id}/change/")]
"""


def test_a_task_that_runs_is_shown_with_its_progress(site: Site) -> None:
    """In the list and on its page, with its worker; afterwards with its result."""
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write("Q_CLUSTER['orm'] = 'default'\n")
    with (site.folder / "shop" / "tasks.py").open("a") as file:
        file.write(f"\nfrom qcore import progress\n{TASKS}")
    site.manage("migrate", "-v", "0")
    end = str(site.folder / "end")

    with site.running():
        listed, single, done = site.ask("import re\n" + PROGRAM.replace("{end!r}", repr(end)))

    for page in (listed, single):
        assert '<progress class="q-progress" max="12.0" value="3.0">3 of 12</progress>' in page
        assert "&lt;slowly&gt;" in page
        assert "running for" in page
    assert ">12 of 12</progress>" in done
