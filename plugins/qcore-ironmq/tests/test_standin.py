"""The stand-in answers to the letter what the reference of the service says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from .conftest import PROJECT, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server


@pytest.fixture
def ask(start: Callable[..., Server]) -> Callable[..., tuple[int, Any]]:
    """Return what sends a request and returns status and answer."""
    base = f"http://127.0.0.1:{start(1).port}/3/projects/{PROJECT}/queues"

    def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"OAuth {TOKEN}"}
        answer = urllib3.request(method, base + path, body=data, headers=headers, retries=False, timeout=10)
        return answer.status, answer.json()

    return ask


def test_queues_are_listed_by_name(ask: Callable[..., tuple[int, Any]]) -> None:
    """Thirty at a time, behind the one named, those that begin alike."""
    for number in range(35):
        ask("PUT", f"/q{number:02}", {})
    ask("PUT", "/another", {})

    def names(query: str = "") -> list[str]:
        status, told = ask("GET", query)
        assert status == 200
        return [queue["name"] for queue in told["queues"]]

    assert names() == ["another", *(f"q{number:02}" for number in range(29))]
    assert names("?previous=q28") == [f"q{number}" for number in range(29, 35)]
    assert names("?prefix=q&per_page=2") == ["q00", "q01"]
    assert names("?prefix=q&per_page=2&previous=q00x") == ["q01", "q02"]
    assert ask("GET", "?per_page=101")[0] == 400
    assert ask("GET", "?per_page=many")[0] == 400


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"queue_name": "dead"}, 201),
        ({"queue_name": "dead", "max_reservations": 1000}, 201),
        ({"queue_name": "dead", "max_reservations": 0}, 400),
        ({"queue_name": "dead", "max_reservations": 1001}, 400),
        ({"queue_name": "dead", "max_reservations": "3"}, 400),
        ({"max_reservations": 3}, 400),
        ("dead", 400),
    ],
)
def test_a_queue_of_dead_letters_is_checked(
    ask: Callable[..., tuple[int, Any]], told: object, status: int
) -> None:
    """Its name is needed, and its number within bounds, 10 if nothing is said."""
    answered, _ = ask("PUT", "/q", {"queue": {"dead_letter": told}})

    assert answered == status
    if isinstance(told, dict) and status == 201:
        _, shown = ask("GET", "/q")
        assert shown["queue"]["dead_letter"] == {"max_reservations": 10, **told}
    else:
        assert ask("GET", "/q")[0] == 404


def test_a_message_is_reserved_for_the_queues_own_time(ask: Callable[..., tuple[int, Any]]) -> None:
    """Where the client says nothing; a time that is none is refused."""
    ask("PUT", "/q", {"queue": {"message_timeout": 1}})
    ask("POST", "/q/messages", {"messages": [{"body": "soon back"}]})
    _, first = ask("POST", "/q/reservations", {})

    # as long as the service lets one wait at most: it is back much sooner
    _, again = ask("POST", "/q/reservations", {"wait": 9})

    assert [one["reserved_count"] for one in first["messages"] + again["messages"]] == [1, 2]
    assert ask("POST", "/q/reservations", {"timeout": 0})[0] == 400


@pytest.mark.parametrize("body", [{"messages": []}, {}])
def test_an_empty_post_is_told_as_such(
    ask: Callable[..., tuple[int, Any]], body: dict[str, list[str]]
) -> None:
    """It is not too many messages."""
    assert ask("POST", "/q/messages", body) == (400, {"msg": "No messages to post"})
