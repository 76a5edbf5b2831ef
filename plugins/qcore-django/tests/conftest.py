"""A Django site, set up once in each process that runs these tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings

from qcore_text.wording import typed

from . import site_files
from .once import made_once

if TYPE_CHECKING:
    from collections.abc import Iterator

#: where the settings of the site lie
HERE = Path(__file__).parent


def _set_up() -> None:
    # before a test module is imported, which imports models
    sys.path.append(str(HERE))
    if not settings.configured:
        import site_settings

        settings.configure(**{name: value for name, value in vars(site_settings).items() if name.isupper()})
        django.setup()


_set_up()
# It reads the settings.
from qcore_django.shared import type_behind_manage  # noqa: E402 - see above


def type_plainly() -> None:
    """Have messages tell commands as outside of a site, for the tests of others in this process."""
    typed.through("qcore", {})


type_plainly()


@pytest.fixture(autouse=True)
def typed_behind_manage() -> Iterator[None]:
    """Have messages tell commands as on a site, in these tests only."""
    type_behind_manage()
    yield
    type_plainly()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the queues of a test in a folder of its own, and let its workers find the settings."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "site_settings")
    return tmp_path


@pytest.fixture(autouse=True)
def own_time_zone() -> Iterator[None]:
    """Undo what Django does to the time zone of the process when the setting TIME_ZONE changes."""
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


#: what manage.py does, for several commands
EACH = """
import contextlib, io, json, os
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
found = []
for one in commands:
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            execute_from_command_line(["manage.py", *one])
        except SystemExit as exc:
            code = int(exc.code or 0)
    found.append((code, said.getvalue()))
print(json.dumps(found))
"""


class Site:
    """A site made by `startproject`, and the processes of it that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("QCORE", "Q_", "DJANGO"))
        }
        self.env = {**kept, "XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1"}

    def manage(self, *arguments: str, code: int | None = 0, **env: str) -> str:
        """Run a command of manage.py and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout
        return done.stdout

    def manage_each(self, *commands: str, **env: str) -> list[tuple[int, str]]:
        """Run several commands of manage.py in one process; return the exit code and the output of each."""
        text = f"commands = {[one.split() for one in commands]!r}\n{EACH}"
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=self.folder, env=self.env | env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return [(code, said) for code, said in json.loads(done.stdout)]

    def ask(self, program: str) -> Any:
        """Run a program in the site and return what it says is `answer`."""
        text = f"from shop.models import *\nfrom shop.tasks import *\n{program}\nimport json\n"
        printed = self.manage("shell", "-v", "0", "-c", f"{text}print('answer:' + json.dumps(answer))")
        return json.loads(printed.rpartition("answer:")[2])

    @contextmanager
    def running(self, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """Start `manage.py qcluster`, and end it by SIGTERM as an init system does."""
        log = self.folder / "cluster.log"
        with log.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster", *arguments],
                cwd=self.folder,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stderr=file,
                text=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.returncode == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site with an app, a model and its table, once for all tests."""
    return made_once(tmp_path_factory, "django-site", start_site)


def start_site(folder: Path) -> None:
    """Start a project in a folder, with an app."""
    start = [sys.executable, "-m", "django", "startproject", "mysite", str(folder)]
    subprocess.run(start, check=True, timeout=60)
    for name, text in site_files.FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with (folder / "mysite" / "settings.py").open("a") as file:
        file.write(site_files.SETTINGS)
    Site(folder).manage("migrate", "shop", "-v", "0")


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Site:
    """Return a site of the test's own."""
    return Site(shutil.copytree(template, tmp_path / "site"))
