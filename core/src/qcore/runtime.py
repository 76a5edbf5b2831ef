"""One Config assembled: broker, store, envelope, serializers, reporters, hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from qcore.backend_clock import BackendClock
from qcore.errors import ConfigError
from qcore.lazy import cached
from qcore.making import load_broker_class, make
from qcore.messages.envelope import MAX_RAW, Envelope
from qcore.messages.results import Results
from qcore.messages.sealer import Sealer
from qcore.plugins import BoundHook, Plugins
from qcore.settle import MAX_DELIVERIES, Rules
from qcore_process.connection_pool import ConnectionPool
from qcore_queues.order import order_of
from qcore_queues.refusal import refusing_routes
from qcore_reports.policy import Policy
from qcore_reports.reporters import Reporters

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from qcore.config import Config
    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Serializer, Settings


class Runtime:
    """Everything a process needs to speak of one queue; made once, no I/O before it is needed."""

    def __init__(
        self,
        config: Config,
        plugins: Plugins | None = None,
        *,
        owner: bytes = b"",
        guard: Callable[[Any, str], Any] = lambda made, _: made,
    ) -> None:
        """Assemble a configuration.

        Args:
            config: the configuration.
            plugins: what is installed; None = look for it.
            owner: names the leases of this process.
            guard: applied to each broker and store that is made, with what messages call it; see
                `guarding.guarded`.

        """
        self.config = config
        self.plugins = plugins or Plugins.discover()
        #: names the leases of this process
        self.owner = owner
        self._guard = guard
        #: the queues that are not leased from, see `Settings.left_out`
        self.left_out: Container[str] | None = None
        #: the clusters were asked whether they have the key that signs here
        self.key_is_checked = False
        self._others: dict[str, Runtime] = {}
        #: code -> serializer this configuration accepts
        self.serializers: Mapping[int, Serializer] = self._accepted()
        self.serializer = self._make("qcore_serializers", config.serializer)
        most = config.max_connections
        self.brokers: ConnectionPool[Broker] = ConnectionPool(self.make_broker, most)
        #: decides about expiries and slots
        self.clock = BackendClock(self.brokers.connection)
        self.stores: ConnectionPool[ResultStore] = ConnectionPool(self.make_store, most)
        self.schedule_stores: ConnectionPool[ScheduleStore] = ConnectionPool(self.make_schedule_store, most)
        #: where tasks are enqueued that join a transaction which the broker cannot join
        self.outboxes: ConnectionPool[Broker] = ConnectionPool(self.make_outbox, most)
        self.coordination_stores: ConnectionPool[CoordinationStore] = ConnectionPool(
            self.make_coordination_store, most
        )

    # -- what needs the keys, which are read, or made, when one of these is first used -----------

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret keys: the first signs, all verify."""
        return self.config.keys()

    @cached
    def envelope(self) -> Envelope:
        """Seals and opens messages."""
        config = self.config
        return Envelope(
            self.secrets,
            config.name,
            compress=config.compress,
            max_message=config.max_message,
            max_raw=max(MAX_RAW, config.max_message),
            whence=config.key_text,
        )

    @cached
    def results(self) -> Results:
        """Seals and opens results."""
        config = self.config
        return Results(
            self.secrets,
            config.name,
            self.serializer,
            self.serializers,
            whose=self.plugins.title("qcore_serializers", config.serializer),
            whence=config.key_text,
            max_result=config.max_result,
            ttl=config.result_ttl or 0.0,
            keep_arguments=config.keep_arguments,
        )

    @cached
    def schedule_sealer(self) -> Sealer:
        """Seals and opens schedules."""
        return Sealer(self.secrets, "schedule", self.config.name)

    @cached
    def status_sealer(self) -> Sealer:
        """Seals and opens the status of clusters."""
        return Sealer(self.secrets, "status", self.config.name)

    @cached
    def control_sealer(self) -> Sealer:
        """Seals and opens control flags."""
        return Sealer(self.secrets, "control", self.config.name)

    def of(self, name: str) -> Runtime:
        """Return the same configuration's runtime for another queue."""
        if not name or name == self.config.name:
            return self
        found = self._others.get(name)
        if found is None:
            config = attrs.evolve(self.config, name=name)
            found = self._others.setdefault(
                name, Runtime(config, self.plugins, owner=self.owner, guard=self._guard)
            )
        return found

    # -- connections ----------------------------------------------------------------------------

    def make_broker(self, retry: float | None = None, *, create: bool = True) -> Broker:
        """Connect to the broker.

        Raises:
            ConfigError: the broker cannot do what the configuration asks for.
            QueueMissing: there is no queue, and `create` is false.

        """
        order = order_of(self.config.queues, self.owner)
        settings = attrs.evolve(self._settings(create=create), queues=order, left_out=self.left_out)
        if retry is not None:
            settings = attrs.evolve(settings, retry=retry)
        dotted = self.config.broker_class
        if dotted:
            whose = f"broker_class {dotted!r}"
            broker: Broker = self._guard(make(whose, load_broker_class(dotted), settings), whose)
        else:
            broker = self._connect("qcore_brokers", self.config.broker, settings)
        faults = self.config.check_broker(broker.capabilities)
        if faults:
            broker.close()
            raise ConfigError(faults)
        return refusing_routes(broker, self.config.broker)

    def make_outbox(self, *, create: bool = True) -> Broker:
        """Connect to the queue in a database from which messages are moved to the broker."""
        settings = attrs.evolve(self._settings(create=create), name=f"{self.config.name}:outbox")
        outbox: Broker = self._connect("qcore_brokers", self.config.outbox or "", settings)
        return outbox

    def make_store(self, *, create: bool = True) -> ResultStore:
        """Connect to the result store."""
        name = self.result_store
        settings = self._settings_of_store(name, create=create)
        store: ResultStore = self._connect("qcore_result_stores", name, settings)
        return store

    @property
    def result_store(self) -> str:
        """The name of the result store: the one configured, else the broker's own, else the default."""
        return self.config.result_store or self._first("qcore_result_stores", self._own)

    def make_schedule_store(self, *, create: bool = True) -> ScheduleStore:
        """Connect to the schedule store: the broker's, else that of `result_store`, else the default."""
        name = self._first("qcore_schedule_stores", self._own, self.config.result_store)
        settings = self._settings_of_store(name, create=create)
        store: ScheduleStore = self._connect("qcore_schedule_stores", name, settings)
        return store

    def _make(self, hook: str, name: str, *args: Any) -> Any:  # noqa: ANN401 - `hookspecs` says what it offers
        factory = self.plugins.find(hook, name)
        return make(self.plugins.title(hook, name), factory, *args)

    def _connect(self, hook: str, name: str, settings: Settings) -> Any:  # noqa: ANN401 - as above
        return self._guard(self._make(hook, name, settings), self.plugins.title(hook, name))

    def make_coordination_store(
        self, beside: ResultStore | None = None, *, create: bool = True
    ) -> CoordinationStore:
        """Connect to the coordination store, by the connection of a result store if it can be shared.

        Args:
            beside: the result store of the same thread; the two are closed together.
            create: make a queue where there is none.

        """
        name = self.coordination_store
        settings = attrs.evolve(self._settings_of_store(name, create=create), beside=beside)
        store: CoordinationStore = self._connect("qcore_coordination_stores", name, settings)
        return store

    @property
    def coordination_store(self) -> str:
        """The name of the coordination store: configured, the broker's, that of results, or default."""
        return self.config.coordination_store or self._first(
            "qcore_coordination_stores", self._own, self.config.result_store
        )

    @property
    def _own(self) -> str | None:
        return None if self.config.broker_class else self.config.broker

    def _first(self, hook: str, *names: str | None) -> str:
        offered = self.plugins.names(hook)
        return next((name for name in names if name in offered), None) or self.plugins.default_broker()

    def _settings(self, *, create: bool) -> Settings:
        if create:
            self.config.warn_of_new_queue()
            # A queue beside which there is no key is taken for one whose key was lost.
            self.config.keys()
        return attrs.evolve(self.config.settings(), owner=self.owner, create=create)

    def _settings_of_store(self, name: str, *, create: bool) -> Settings:
        settings = self._settings(create=create)
        if name != self._own and not self.owner:
            # The queue is elsewhere, so a program that asks for a result before a cluster has run on this
            # machine does not ask for a queue that is not there. Processes of a cluster have an owner.
            settings = attrs.evolve(settings, create=True, make_when_written=not create)
        return settings

    def _accepted(self) -> dict[int, Serializer]:
        found = {}
        for name in self.config.accept_serializers:
            serializer = self._make("qcore_serializers", name)
            found[serializer.code] = serializer
        return found

    # -- what the parts ask for -----------------------------------------------------------------

    def rules(self, *, redelivers: bool = True, extend: bool = True) -> Rules:
        """Return how this configuration settles messages of a broker with these capabilities."""
        config = self.config
        return Rules(
            max_attempts=config.max_attempts,
            ack_failures=config.ack_failures,
            max_crashes=config.max_crashes,
            retry=config.retry,
            # Without renewal a long task is redelivered again and again by design.
            max_deliveries=MAX_DELIVERIES if config.renew_leases and extend else 0,
            redelivers=redelivers,
        )

    @property
    def save_successes(self) -> bool:
        """Whether successes are stored unless a task says otherwise."""
        return self.config.save_limit >= 0

    def hooks(self, name: str) -> tuple[BoundHook, ...]:
        """Return the bound implementations of a lifecycle hook."""
        return self.plugins.hooks(name)

    @cached
    def pre_enqueue(self) -> tuple[BoundHook, ...]:
        """The hooks `qcore_pre_enqueue`, which each enqueue asks for; plugins are loaded before."""
        return self.hooks("qcore_pre_enqueue")

    def all_hooks(self, name: str) -> tuple[BoundHook, ...]:
        """Return those of a hook that is called in a cluster, and what error reporters have of it."""
        return (
            *self.hooks(name),
            *(BoundHook(title, name, own) for title, own in self.reporters.hooks(name)),
        )

    @cached
    def made_reporters(self) -> Reporters:
        """The same, whether they work already or not."""
        return self.make_reporters()

    @property
    def reporters(self) -> Reporters:
        """The configured error reporters; they begin to work when they are first used."""
        (made := self.made_reporters).start()
        return made

    def make_reporters(self) -> Reporters:
        """Make the configured error reporters, which do not work yet."""
        made = []
        for name, settings in self.config.error_reporter.items():
            policy, own = Policy.read(name, settings)
            made.append((name, make(f"error_reporter.{name}", self.plugins.reporter(name), **own), policy))
        if not made:
            return Reporters(())
        config = self.config
        secrets = {*self.secrets, *config.secret_texts()}
        return Reporters(made, cluster=config.name, label=config.label, secrets=secrets)

    def close(self) -> None:
        """Close idle connections."""
        self.brokers.close()
        self.outboxes.close()
        self.stores.close()
        self.schedule_stores.close()
        self.coordination_stores.close()
        while self._others:
            self._others.popitem()[1].close()
