"""The configuration: layers checked together, and what is asked of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from qcore import wording
from qcore.errors import ConfigError
from qcore.interfaces import Settings
from qcore.plugins import Plugins
from qcore.settings import crosscheck, keyfile, options, sections
from qcore.settings.rules import UNSET, Wrong, is_none
from qcore.settings.rules import told as told_of
from qcore.settings.sources import Layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Capabilities

__all__ = ["UNSET", "Config"]


@attrs.frozen(kw_only=True)
class Config(options.Options):
    """What producers and clusters are told; made by `from_dict` or `load`, which check it."""

    #: the configuration key that selects the broker, or `broker_class`
    broker: str = ""
    #: plugins' keys as they were written
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    #: plugins' keys in the plugins' own types
    sections: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)
    # finds the file of a queue that needs no server, beside which its key is kept
    _find_file: Callable[[Settings], Path | None] | None = attrs.field(
        default=None, alias="find_file", repr=False, eq=False
    )
    # keys once read or made, so that a process has one set of them
    _keys: list[tuple[str, ...]] = attrs.field(factory=list, init=False, repr=False, eq=False)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], plugins: Plugins | None = None) -> Self:
        """Check a table of settings and return its Config.

        Raises:
            ConfigError: with every fault there is.

        """
        layers = Layers()
        layers.lay(mapping)
        return cls._checked(layers, plugins or Plugins.discover())

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        env: Mapping[str, str] | None = None,
        plugins: Plugins | None = None,
        **overrides: Any,
    ) -> Self:
        """Lay a file, QCORE_* variables and overrides over the defaults and check the whole.

        The file is `path`, else `$QCORE_CONFIG`, else `qcore.toml`, else `[tool.qcore]` of
        `pyproject.toml` in the working directory. An override that is UNSET overrides nothing.

        Raises:
            ConfigError: with every fault there is.

        """
        env = os.environ if env is None else env
        layers = Layers()
        layers.file(path, env)
        layers.environment(env)
        layers.lay(overrides)
        return cls._checked(layers, plugins or Plugins.discover(env=env))

    @classmethod
    def _checked(cls, layers: Layers, plugins: Plugins) -> Self:
        told = list(layers.faults)
        rules = options.every()
        values: dict[str, Any] = {}
        bad: set[str] = set()
        for key, value in layers.values.items():
            try:
                values |= {key: rules[key].read(value)} if key in rules else {}
            except Wrong as error:
                bad.add(key)
                told.append(told_of(key, value, error, layers.origin(key)))
        values = {key: value for key, value in values.items() if value is not UNSET}
        given = {
            key: value for key, value in layers.values.items() if key not in rules and not is_none(value)
        }
        raw: dict[str, Any] = {}
        structured: dict[str, Any] = {}
        for key, value in given.items():
            try:
                structured[key], raw[key] = sections.read(key, value, [*rules], plugins, layers.origin)
            except sections.Faulty as error:
                told += error.faults

        config = cls(**values, raw=raw, sections=structured)
        chosen, wrong = crosscheck.broker_of(config, given, plugins)
        bad |= {"secret_key"} if wrong else set()
        told += [*wrong, *crosscheck.between(config, chosen, bad, plugins)]
        if "accept_serializers" not in values and not {"serializer", "accept_serializers"} & bad:
            told += crosscheck.safety(config, plugins)
        if told:
            secrets = wording.secrets_of(layers.values)
            raise ConfigError([wording.without(fault, secrets) for fault in told])
        return attrs.evolve(config, broker=chosen, find_file=plugins.local_brokers().get(chosen))

    # -- what is asked of it --------------------------------------------------------------

    @property
    def result_ttl(self) -> float | None:
        """Seconds a result is kept; None = as long as `save_limit` lets it."""
        return None if isinstance(self.cached, bool) else self.cached

    def queue_file(self, name: str) -> Path | None:
        """Return the file that holds the queue `name`, None if no file does."""
        return None if self._find_file is None else self._find_file(attrs.evolve(self.settings(), name=name))

    def settings(self) -> Settings:
        """Return what brokers and stores are told."""
        return Settings(
            name=self.name, retry=self.retry, bulk=self.bulk, poll=self.poll, sections=dict(self.sections)
        )

    def check_broker(self, capabilities: Capabilities) -> tuple[str, ...]:
        """Return the faults that only show once it is known what the broker can do."""
        return tuple(crosscheck.broker(self, self.broker, capabilities))

    def keys(self) -> tuple[str, ...]:
        """Return the secret keys: the first signs, all verify.

        Reads the files named by `secret_key`. Without one, the embedded broker's key is read
        from the file beside its database, which is made if it is not there.

        Raises:
            ConfigError: a file cannot be read or made, or holds no usable key.

        """
        if not self._keys:
            try:
                self._keys.append(self._read_keys())
            except Wrong as error:
                raise ConfigError([f"secret_key: {error}"]) from error
        return self._keys[0]

    def _read_keys(self) -> tuple[str, ...]:
        if self.secret_key:
            return keyfile.resolved(self.secret_key)
        if self._find_file is None:
            raise Wrong(f"missing; the broker {self.broker!r} needs one: make one with 'qcore keys new'")
        file = self._find_file(self.settings())
        # A queue that lives in one process needs no key that lives longer.
        return (keyfile.new(),) if file is None else keyfile.read_or_make(file.with_suffix(".key"))

    def as_dict(self) -> dict[str, Any]:
        """Return a table of plain values that `from_dict` turns into an equal Config."""
        values = {name: getattr(self, name) for name in options.every()}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        reporters = {name: dict(settings) for name, settings in self.error_reporter.items()}
        return {**plain, "secret_key": list(self.secret_key) or None, "error_reporter": reporters, **self.raw}

    def redacted(self) -> dict[str, Any]:
        """Return `as_dict()` with every secret hidden."""
        return {name: wording.redacted(value, name) for name, value in self.as_dict().items()}
