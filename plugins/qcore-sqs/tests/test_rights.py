"""The policy that the README names is enough, and none of its actions is too much."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import qcore_sqs
from qcore import App, Cluster, Config
from qcore.errors import BackendRejected
from qcore.model import Action, Outgoing, Settlement
from tests.unit.command_line import typed

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE: Final = Path(qcore_sqs.__file__).parent
README: Final = Path(__file__).parents[1] / "README.md"
SECRET: Final = "the key of these tests, not of anybody else"
#: boto3's name of an operation
OPERATION: Final = re.compile(
    r'"((?:send|receive|delete|change|create|get|list|tag|untag|set|purge)_(?:message|queue)[a-z_]*)"'
)


def policy() -> set[str]:
    """Return the actions that the README names."""
    return set(re.findall(r'"sqs:(\w+)"', README.read_text(encoding="utf-8")))


def requested() -> set[str]:
    """Return the actions of all operations that the sources name."""
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    names = {name.removesuffix("_batch") for name in OPERATION.findall(sources)}
    return {"".join(part.capitalize() for part in name.split("_")) for name in names}


def test_the_policy_names_each_action_that_is_requested_and_no_other() -> None:
    """The server of these tests denies anything else, so every test here runs under this policy."""
    assert policy() == requested()


@pytest.mark.parametrize("action", sorted(policy()))
def test_without_one_action_something_is_denied(
    sqs: Any,
    new: Callable[..., Any],
    until: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    """The error says where the policy is; only tags can be done without, and the log says what for."""

    def use() -> None:
        broker = new(name=f"without-{action}", max_receives=20)
        broker.enqueue([Outgoing(b"1" * 16, b"one"), Outgoing(b"2" * 16, b"later", delay=1)])
        broker.ping()
        broker.size()
        for _ in range(2):
            (leased,) = until(lambda: broker.lease(1, 1))
            broker.extend([leased.receipt], 30)
            broker.settle([Settlement(leased.receipt, Action.ACK)])
        broker.release_owner(b"nobody")
        broker.purge()

    use()
    sqs.reset()
    sqs.tell(allowed=[f"sqs:{one}" for one in policy() - {action}])

    if action == "ListQueueTags":
        use()
        assert "delayed messages are not purged: AccessDenied" in caplog.text
        return
    with pytest.raises(BackendRejected, match="have no permission for this; see the README"):
        use()


@pytest.mark.early
def test_what_an_operator_looks_at_needs_no_more_rights_than_work(
    sqs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the policy by which tasks run, `info`, `health` and `doctor` work as well."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-these-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-these-tests")
    table = {"aws_region": "eu-west-1", "endpoint_url": sqs.url}
    file = tmp_path / "qcore.toml"
    written = "\n".join(f'{key} = "{value}"' for key, value in table.items())
    file.write_text(f'name = "rights"\nsecret_key = "{SECRET}"\n[sqs]\n{written}\n')
    file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    config = Config.from_dict({"name": "rights", "secret_key": SECRET, "workers": 1, "sqs": table})
    with closing(App(config)) as app, Cluster(config):
        assert app.enqueue("operator.add", 2, 3).result(wait=60) == 5
        for command in (["info", "--json"], ["health"], ["doctor"]):
            ran = typed(capsys, *command)
            assert ran.code == 0, (command, ran)
