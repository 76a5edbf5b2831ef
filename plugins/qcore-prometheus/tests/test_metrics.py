"""What is exposed, printed and asked for by the dashboard and the rules."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import promql_parser
import pytest
import yaml

import qcore.cli
from qcore import App, ClusterStatus, Config
from qcore.errors import BackendUnavailable, ConfigError
from qcore.messages.sealer import STATUS
from qcore.model import QueueSize
from qcore.status import Counts, Durations, TaskCounts, WorkerStatus
from qcore_prometheus import PrometheusSettings
from qcore_prometheus.families import BOUNDS, families
from qcore_prometheus.page import Writer
from qcore_prometheus.queue_figures import BackgroundReader, OneQueue, QueueFigures

from .conftest import KEY, Page
from .picture import draw

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_OF_BLUE: Final = ClusterStatus(
    id="1" * 32,
    name="shop",
    label="blue",
    host="a",
    pid=1,
    state="working",
    workers=(WorkerStatus(slot=0, pid=2, state="busy", pss=5), WorkerStatus(slot=1, pid=3, state="idle")),
    reincarnations={"recycled": 4},
    published=time.time(),
    counts=Counts(
        tasks={
            "shop.pay": TaskCounts(
                runs={"success": 3, "timeout": 1},
                left=4,
                retries=1,
                dead_letters=1,
                seconds=2.5,
                waited_seconds=1.5,
                success_times=(2, 1),
                failed_times=(0, 0, 1),
                wait_times=(*[0] * 23, 4),
            )
        },
        started=5,
        run_times=Durations(bounds=(1024 * 2**9 / 1e9, 1024 * 2**12 / 1e9, 1e6), counts=(1, 2, 1), total=9.0),
        wait_times=Durations(bounds=(0.5,), counts=(4,), total=1.5),
        redeliveries=1,
        renewals=2,
        backend_errors=3,
        fired=4,
        fired_late=1,
    ),
)
#: epoch seconds
OLDEST: Final = time.time() - 60
FIGURES: Final = QueueFigures(
    up=True,
    queues=[
        OneQueue(name="default", size=QueueSize(ready=1, leased=2, delayed=3)),
        OneQueue(name="mail", size=QueueSize(ready=5), paused=True, oldest=OLDEST),
    ],
    dead_letters=4,
    knows_age=True,
    overdue=1,
)


def exposed(*clusters: ClusterStatus, figures: QueueFigures = FIGURES) -> Page:
    """Return the page of these clusters."""
    return Page(Writer().write(families("shop", clusters, figures)).decode())


# -- the page ---------------------------------------------------------------------------------


def test_a_cluster_is_exposed_with_all_it_counts() -> None:
    """By the name of its queues, its label and the host."""
    before = time.time()
    page = exposed(STATUS_OF_BLUE)
    after = time.time()

    labels = {"cluster": "shop", "label": "blue", "host": "a"}
    assert page.value("qcore_task_runs_total", task="shop.pay", outcome="timeout", **labels) == 1
    assert page.value("qcore_task_runs_total", task="shop.pay", outcome="failure") == 0
    assert page.value("qcore_task_seconds_total", task="shop.pay") == 2.5
    assert page.value("qcore_messages_left_total", **labels) == 4
    assert page.value("qcore_workers", state="busy", **labels) == 1
    assert page.value("qcore_workers_replaced_total", cause="recycled") == 4
    assert page.value("qcore_workers_replaced_total", cause="crashed") == 0
    assert page.value("qcore_memory_bytes", process="workers") == 5
    assert page.value("qcore_backend_errors_total", **labels) == 3
    assert page.value("qcore_schedules_fired_late_total") == 1
    age = page.value("qcore_queue_oldest_seconds", cluster="shop", queue="mail")
    assert before - OLDEST <= age <= after - OLDEST


def test_each_queue_is_exposed() -> None:
    """Its messages by state, the age of the oldest, whether it is paused; dead letters of all together."""
    page = exposed()

    assert page.value("qcore_queue_messages", cluster="shop", queue="default", state="delayed") == 3
    assert page.value("qcore_queue_messages", cluster="shop", queue="mail", state="ready") == 5
    assert page.value("qcore_queue_messages", queue="mail", state="leased") == -1
    assert page.value("qcore_queue_oldest_seconds", queue="default") == 0
    assert page.value("qcore_queue_paused", queue="mail") == 1
    assert page.value("qcore_queue_paused", queue="default") == 0
    assert page.value("qcore_dead_letters", cluster="shop") == 4


def test_durations_become_a_histogram() -> None:
    """What is longer than an hour is only in the last place; every place has those before it."""
    page = exposed(STATUS_OF_BLUE)

    assert page.value("qcore_run_seconds_bucket", le=repr(BOUNDS[0])) == 1
    assert page.value("qcore_run_seconds_bucket", le=repr(BOUNDS[1])) == 1
    assert page.value("qcore_run_seconds_bucket", le=repr(BOUNDS[2])) == 3
    assert page.value("qcore_run_seconds_bucket", le=repr(BOUNDS[-1])) == 3
    assert page.value("qcore_run_seconds_bucket", le="+Inf") == 4
    assert page.value("qcore_run_seconds_count") == 4
    assert page.value("qcore_run_seconds_sum") == 9.0


def test_each_task_has_histograms_of_its_own() -> None:
    """Of its runs, whether they succeeded or not, and of the waits before."""
    page = exposed(STATUS_OF_BLUE)

    def places(name: str) -> list[float]:
        bounds = (*map(repr, BOUNDS[:4]), repr(BOUNDS[-1]), "+Inf")
        return [page.value(f"{name}_bucket", task="shop.pay", le=bound) for bound in bounds]

    assert places("qcore_task_run_seconds") == [2, 3, 4, 4, 4, 4]
    assert page.value("qcore_task_run_seconds_sum", task="shop.pay") == 2.5
    assert places("qcore_task_wait_seconds") == [0, 0, 0, 0, 0, 4]
    assert page.value("qcore_task_wait_seconds_count", task="shop.pay") == 4


def test_two_clusters_with_the_same_labels_are_added_up() -> None:
    """A name and its labels may stand in a page once."""
    page = exposed(STATUS_OF_BLUE, STATUS_OF_BLUE)

    assert page.value("qcore_task_runs_total", outcome="success") == 6
    assert page.value("qcore_workers", state="busy") == 2
    assert page.value("qcore_run_seconds_bucket", le="+Inf") == 8
    names = [line.partition(" ")[0] for line in page.text.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))


def test_what_the_broker_cannot_tell_is_left_out() -> None:
    """A zero would be taken for a fact."""
    figures = QueueFigures(up=True, queues=[OneQueue(name="default", size=QueueSize(ready=1))], overdue=0)
    page = exposed(figures=figures)

    assert page.value("qcore_queue_messages", state="ready") == 1
    assert page.value("qcore_queue_messages", state="leased") == -1
    assert "qcore_queue_oldest_seconds" not in page.text
    assert "qcore_dead_letters" not in page.text


def test_odd_names_break_no_page() -> None:
    """Whoever enqueues may name any task."""
    odd = 'x"\n\\{é}'
    counts = Counts(tasks={odd: TaskCounts(runs={"failure": 1})})
    page = exposed(ClusterStatus(id="", name="shop", label="b", host="a", pid=1, state="idle", counts=counts))

    assert page.value("qcore_task_runs_total", task=odd, outcome="failure") == 1


class _Reader:
    """A reader whose backend can be away."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def read(self) -> QueueFigures:
        self.free.wait(45)
        if self.error is not None:
            raise self.error
        return FIGURES

    def close(self) -> None:
        """Have nothing to close."""


def test_a_backend_that_is_away_or_hangs_holds_up_no_scrape(caplog: pytest.LogCaptureFixture) -> None:
    """The page says that it is away; one line of the log says why."""
    reader = _Reader()
    background = BackgroundReader(reader)  # type: ignore[arg-type]  # a stand-in
    assert background.read() == FIGURES

    reader.error = BackendUnavailable("no answer")
    assert [background.read() for _ in range(3)] == [QueueFigures()] * 3
    assert caplog.text.count("cannot be read, the others are served: no answer") == 1
    reader.error = None
    reader.free.clear()
    assert background.read() == QueueFigures()
    reader.free.set()
    end = time.monotonic() + 100
    while background.read() != FIGURES:
        assert time.monotonic() < end
    background.close()
    background._thread.join(45)
    assert not background._thread.is_alive()
    assert exposed(figures=QueueFigures()).value("qcore_queue_up") == 0


# -- the command ------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Return an App whose configuration the command line finds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    text = f'name = "shop"\nsecret_key = "{KEY}"\n[sqlite]\npath = "queue.db"\n'
    (tmp_path / "qcore.toml").write_text(text)
    made = App(Config.load())
    yield made
    made.close()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command prints."""
    with pytest.raises(SystemExit) as ended:
        qcore.cli.main(("metrics", *arguments))
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said.out


def test_the_command_prints_what_clusters_elsewhere_publish(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the status store, with the queue as it is; no endpoint is asked."""
    app.enqueue("shop.pay", 1)
    runtime = app.runtime
    import msgspec

    with runtime.brokers.connection() as broker:
        body = runtime.status_sealer.seal(STATUS, msgspec.json.encode(STATUS_OF_BLUE))
        broker.publish_status("1", body, 60.0)

    page = Page(printed(capsys))

    assert page.value("qcore_task_runs_total", task="shop.pay", outcome="success") == 3
    assert page.value("qcore_run_seconds_sum", label="blue") == 9.0
    assert page.value("qcore_queue_messages", state="ready") == 1
    assert page.value("qcore_queue_oldest_seconds") >= 0
    assert KEY not in page.text


def test_the_command_writes_a_file_in_one_step(
    app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A collector reads the old figures or the new; nothing is left beside them."""
    app.enqueue("shop.pay", 1)
    target = tmp_path / "out" / "qcore.prom"
    target.parent.mkdir()
    target.write_text("old")

    assert printed(capsys, "--output", str(target)) == ""

    assert Page(target.read_text()).value("qcore_queue_messages", state="ready") == 1
    assert [one.name for one in target.parent.iterdir()] == ["qcore.prom"]
    with pytest.raises(SystemExit):
        qcore.cli.main(("metrics", "--output", str(tmp_path / "missing" / "x")))
    assert "give a file in a folder that may be written" in capsys.readouterr().err


def test_the_command_prints_dashboard_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a queue."""
    assert json.loads(printed(capsys, "--dashboard"))["title"] == "qcore"
    assert yaml.safe_load(printed(capsys, "--alerts"))["groups"][0]["name"] == "qcore"
    with pytest.raises(SystemExit):
        qcore.cli.main(("metrics", "--dashboard", "--alerts"))
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "9808", "localhost", ":9808", "a:70000", "a:-1", "a:port"])
def test_a_wrong_address_is_an_error_of_the_configuration(address: str) -> None:
    """The message says what one looks like."""
    with pytest.raises(ConfigError, match=r"HOST:PORT, such as 127\.0\.0\.1:9808"):
        Config.from_dict({"name": "shop", "secret_key": KEY, "prometheus": {"address": address}})


def test_an_address_is_a_host_and_a_port() -> None:
    """An IPv6 address has brackets, which a socket does not want."""
    six = PrometheusSettings(address="[::1]:9")
    assert (six.host, six.port) == ("::1", 9)
    assert (PrometheusSettings().host, PrometheusSettings().port) == ("127.0.0.1", 9808)


# -- the dashboard and the rules --------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((files("qcore_prometheus") / "dashboard.json").read_text("utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    """Return the rules."""
    text = (files("qcore_prometheus") / "alerts.yml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def queries() -> list[Any]:
    """Return each query with where it stands."""
    panels = [
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]
    return panels + [pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules()]


@pytest.mark.parametrize("query", queries())
def test_each_query_asks_for_what_there_is(query: str) -> None:
    """Names, labels and the values of labels that are compared."""
    page = exposed(STATUS_OF_BLUE)
    samples = [sample for family in page.families.values() for sample in family.samples]
    # Grafana replaces these before it asks.
    parsed = promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$cluster", ".*"))
    asked: list[Any] = []
    grouped: set[str] = set()

    def visit(node: Any) -> None:
        for name in ("expr", "lhs", "rhs", "vector_selector", "vs"):
            if (inner := getattr(node, name, None)) is not None:
                visit(inner)
        for inner in getattr(node, "args", None) or ():
            visit(inner)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        if isinstance(node, promql_parser.VectorSelector):
            asked.append(node)

    visit(parsed)
    assert asked
    labels: set[str] = set()
    for selector in asked:
        found = [sample for sample in samples if sample.name == selector.name]
        assert found, f"no metric {selector.name}"
        labels.update(*(sample.labels for sample in found))
        for matcher in selector.matchers.matchers:
            values = {sample.labels.get(matcher.name) for sample in found}
            assert None not in values, f"{selector.name} has no label {matcher.name}"
            if matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in values
    assert grouped <= labels


def test_the_dashboard_has_panels_that_do_not_overlap() -> None:
    """Each has a title, an explanation and a place of its own."""
    panels = dashboard()["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert len(panels) > 10
    assert len(set(places)) == len(places)
    assert all(panel["title"] and panel["description"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_picture_shows_each_panel_as_it_was_recorded() -> None:
    """After a change of the dashboard it has to be recorded and drawn anew."""
    kept = Path(__file__).parents[3] / "docs" / "pictures" / "dashboard.svg"

    assert draw() == kept.read_text("utf-8")


def test_prometheus_takes_the_page_and_the_rules(tmp_path: Path) -> None:
    """By its own tool, where that is installed."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool; apt install prometheus")
    text = (files("qcore_prometheus") / "alerts.yml").read_text("utf-8")
    (tmp_path / "alerts.yml").write_text(text, "utf-8")

    for command, given in (("rules", str(tmp_path / "alerts.yml")), ("metrics", None)):
        ran = subprocess.run(
            [tool, "check", command, *([given] if given else [])],
            input=exposed(STATUS_OF_BLUE).text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


ENQUEUED: Final = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      # Both clusters report the same queues: 20 a second leave, and they grow by 10 a second.
      - {series: 'qcore_messages_left_total{cluster="shop", host="a"}', values: '0+225x40'}
      - {series: 'qcore_messages_left_total{cluster="shop", host="b"}', values: '0+75x40'}
      - {series: 'qcore_queue_messages{cluster="shop", queue="default", state="ready", instance="a"}',
         values: '0+180x40'}
      - {series: 'qcore_queue_messages{cluster="shop", queue="default", state="ready", instance="b"}',
         values: '0+180x40'}
      - {series: 'qcore_queue_messages{cluster="shop", queue="mail", state="leased", instance="a"}',
         values: '1000-30x40'}
      # Somebody has deleted messages, which enqueues less than nothing.
      - {series: 'qcore_messages_left_total{cluster="idle", host="a"}', values: '0+0x40'}
      - {series: 'qcore_queue_messages{cluster="idle", queue="default", state="ready"}', values: '9000-30x40'}
    promql_expr_test:
      - expr: cluster:qcore_tasks_enqueued:rate5m
        eval_time: 8m
        exp_samples:
          - {labels: 'cluster:qcore_tasks_enqueued:rate5m{cluster="idle"}', value: 0}
          - {labels: 'cluster:qcore_tasks_enqueued:rate5m{cluster="shop"}', value: 30}
"""


def test_what_is_enqueued_is_what_leaves_and_what_the_queue_grows_by(tmp_path: Path) -> None:
    """By Prometheus's own tool, where that is installed."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool; apt install prometheus")
    text = (files("qcore_prometheus") / "alerts.yml").read_text("utf-8")
    (tmp_path / "alerts.yml").write_text(text, "utf-8")
    (tmp_path / "test.yml").write_text(ENQUEUED, "utf-8")

    ran = subprocess.run(
        [tool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_rules_speak_of_labels_that_their_queries_keep() -> None:
    """A text about a label that is not there has a hole."""
    import re

    alerts = [rule for rule in rules() if "alert" in rule]
    for rule in alerts:
        text = " ".join(rule["annotations"].values())
        kept = set(re.findall(r"\w+", re.search(r"by \(([\w, ]+)\)", rule["expr"])[1]))  # type: ignore[index]  # each has one
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= kept
    assert {"QcoreDeadLettersGrow", "QcoreOldestMessageWaits", "QcoreNoProgress"} <= {
        rule["alert"] for rule in alerts
    }
