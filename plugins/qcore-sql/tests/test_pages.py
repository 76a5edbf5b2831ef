"""What the pages say works as it is written there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

DOCS = Path(__file__).parents[3] / "docs"
SAVED = re.compile(r"<!-- file: (\S+) -->\n+^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^```text\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)
#: seconds one command may take
TIMEOUT = 100.0


def follow(page: Path, folder: Path, *, url: str) -> None:
    """Do what a page says, with the test's database instead of the one it names."""
    text = page.read_text(encoding="utf-8")
    here = url.partition("://")[2]
    for name, content in SAVED.findall(text):
        (folder / name).write_text(content.replace("shop@db.internal/shop", here), encoding="utf-8")
    bin_folder = Path(sys.executable).parent
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder)}
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", "".join(TYPED.findall(text)), re.MULTILINE)
    running = []
    try:
        for command, expected in steps:
            process = subprocess.Popen(
                command.removesuffix(" &"), shell=True, cwd=folder, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            running.append(process)
            if not command.endswith(" &"):
                output, _ = process.communicate(timeout=TIMEOUT)
                said = ".*".join(map(re.escape, expected.split("...")))
                assert re.fullmatch(said, output, re.DOTALL), output
                assert process.returncode == 0
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.communicate()


def test_a_task_is_enqueued_in_a_transaction(url: str, tmp_path: Path) -> None:
    """Only the order that was committed has left a task."""
    follow(DOCS / "how-to" / "enqueue-in-a-transaction.md", tmp_path, url=url)


def test_a_task_waits_in_the_outbox(url: str, tmp_path: Path) -> None:
    """Only the order that was committed has left a task, which is moved to the queue in a file."""
    follow(DOCS / "how-to" / "use-an-outbox.md", tmp_path, url=url)


def test_an_effect_is_there_once(url: str, tmp_path: Path) -> None:
    """The amount is booked once, though the worker was killed after it had written."""
    follow(DOCS / "how-to" / "have-an-effect-once.md", tmp_path, url=url)
