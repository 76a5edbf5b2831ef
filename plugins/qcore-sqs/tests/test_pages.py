"""The commands of the how-to page run on the server of the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-sqs.md"
FENCE = re.compile(r"(?:<!-- file: (\S+) -->\n+)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.early
@pytest.mark.skipif(not PAGE.exists(), reason="the plugin is tested without the project's documents")
def test_the_how_to_runs_as_written(sqs: Any, tmp_path: Path) -> None:
    """The page's files are saved and its commands run, with the test's server as SQS."""
    environment = os.environ | {
        "AWS_ENDPOINT_URL": sqs.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    printed = ""
    commands = []
    for name, tag, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if name:
            (tmp_path / name).write_text(text)
        elif tag == "sh" and not text.startswith("pip install"):
            commands.append(text)

    # in one shell, so that background commands keep running
    with subprocess.Popen(
        ["bash", "-eu", "-c", "\n".join([*commands, "kill %1; wait"])],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, _ = shell.communicate(timeout=90)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)

    assert "42.0" in printed.splitlines(), printed
    assert "orders will be created when the first task is enqueued" in printed
    assert "no dead letters" in printed, printed
