"""Decides whether a configuration is valid, and holds its values."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from qcore.errors import ConfigError
from qcore.interfaces import Settings
from qcore.plugins import Plugins
from qcore.settings import crosscheck, options, sections
from qcore_settings import keyfile
from qcore_settings.rules import UNSET, InvalidValue, is_none, problem_with
from qcore_settings.shapes import text_fields
from qcore_settings.sources import Layers
from qcore_settings.structure import InvalidSection
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Capabilities

__all__ = ["UNSET", "Config"]

#: Seconds for which a broker remembers what has ended where that costs little: a week.
REPLAY_WINDOW: Final = 604_800.0

_log = logging.getLogger("qcore.config")


@attrs.frozen(kw_only=True)
class Config(options.Options):
    """The checked settings of producers and clusters; `from_dict` and `load` create it."""

    #: the configuration key that selects the broker, or the value of `broker_class`
    broker: str = ""
    #: values of plugins' keys as they were written
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    #: values of plugins' keys as the plugins' own types
    sections: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)
    #: the configuration file that was read, None without one
    file: Path | None = attrs.field(default=None, eq=False)
    #: the variable or file that secret_key comes from, "" if it was given in code or not at all
    key_origin: str = attrs.field(default="", repr=False, eq=False)
    # returns the file of a queue that needs no server; its secret key is stored beside that file
    _find_file: Callable[[Settings], Path | None] | None = attrs.field(
        default=None, alias="find_file", repr=False, eq=False
    )
    # the keys once they were read or created, so that a process always uses the same ones
    _keys: list[tuple[str, ...]] = attrs.field(factory=list, init=False, repr=False, eq=False)

    # looked for once: workers have it from the process that they are forked from
    _secret_texts: list[frozenset[str]] = attrs.field(factory=list, init=False, repr=False, eq=False)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], plugins: Plugins | None = None) -> Self:
        """Check a table of settings and return its Config.

        Raises:
            ConfigError: with all problems.

        """
        layers = Layers()
        layers.merge(mapping)
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
        """Merge a file, QCORE_* variables and overrides over the defaults, and check the result.

        The file is `path`, else `$QCORE_CONFIG`, else the nearest `qcore.toml` or `pyproject.toml`
        with a table `[tool.qcore]`, in the working directory or a folder above it. Relative paths in
        a file start from its folder. An override that is UNSET has no effect.

        Raises:
            ConfigError: with all problems.

        """
        env = os.environ if env is None else env
        plugins = plugins or Plugins.discover(env=env)
        layers = Layers(texts=text_fields(plugins.all("qcore_settings")))
        layers.file(path, env)
        layers.environment(env)
        layers.merge(overrides)
        return cls._checked(layers, plugins)

    @classmethod
    def _checked(cls, layers: Layers, plugins: Plugins) -> Self:
        problems = list(layers.problems)
        rules = options.every()
        values: dict[str, Any] = {}
        invalid: set[str] = set()
        for key, value in layers.values.items():
            try:
                values |= {key: rules[key].read(value)} if key in rules else {}
            except InvalidValue as error:
                invalid.add(key)
                problems.append(problem_with(key, value, error, layers.origin(key)))
        values = {key: value for key, value in values.items() if value is not UNSET}
        if "secret_key" in values:
            values["secret_key"] = keyfile.anchored(values["secret_key"], layers.folder("secret_key"))
        given = {
            key: value for key, value in layers.values.items() if key not in rules and not is_none(value)
        }
        raw: dict[str, Any] = {}
        structured: dict[str, Any] = {}
        for key, value in given.items():
            try:
                structured[key], raw[key] = sections.read(
                    key, value, [*rules], plugins, layers.origin, layers.folder
                )
            except InvalidSection as error:
                problems += error.problems

        config = cls(**values, raw=raw, sections=structured)
        chosen, wrong = crosscheck.broker_of(config, given, plugins)
        invalid |= {"secret_key"} if wrong else set()
        problems += [*wrong, *crosscheck.between(config, chosen, invalid, plugins)]
        if "accept_serializers" not in values and not {"serializer", "accept_serializers"} & invalid:
            problems += crosscheck.safety(config, plugins)
        if problems:
            secrets = wording.secrets_of(layers.values)
            raise ConfigError([wording.without(problem, secrets) for problem in problems])
        find_file = plugins.all("qcore_local_brokers").get(chosen)
        return attrs.evolve(
            config,
            broker=chosen,
            file=layers.source,
            key_origin=layers.origin("secret_key") if config.secret_key else "",
            find_file=find_file,
        )

    def packed(self) -> dict[str, Any]:
        """Return plain values for another process of the same cluster: the settings, and their origin."""
        file = None if self.file is None else str(self.file.absolute())
        return {"settings": self.as_dict(), "file": file, "key_origin": self.key_origin}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any], plugins: Plugins | None = None) -> Self:
        """Return the Config that another process has packed."""
        file = packed["file"]
        return attrs.evolve(
            cls.from_dict(packed["settings"], plugins),
            file=None if file is None else Path(file),
            key_origin=packed["key_origin"],
        )

    # -- values ---------------------------------------------------------------------------

    @property
    def result_ttl(self) -> float | None:
        """Seconds for which a result is stored; None = as long as `save_limit` allows."""
        return None if isinstance(self.cached, bool) else self.cached

    def queue_file(self, name: str) -> Path | None:
        """Return the file that holds the queue `name`, None if the broker uses no file."""
        return None if self._find_file is None else self._find_file(attrs.evolve(self.settings(), name=name))

    @property
    def placed(self) -> bool:
        """Whether anything says where the queue is; without that, a file in the state directory holds it."""
        return self.file is not None or self.broker_class is not None or self.broker in self.raw

    @property
    def file_text(self) -> str:
        """The configuration file, as messages name it."""
        if self.file is not None:
            return str(self.file.absolute())
        return "no file" if self.placed else "no file, so the queue is in the state directory"

    @property
    def key_text(self) -> str:
        """Where the secret keys come from, as messages name it; never a key."""
        files = [one for one in self.secret_key if one.startswith(keyfile.FILE)]
        if self.secret_key and len(files) < len(self.secret_key):
            return f"secret_key from {self.key_origin}" if self.key_origin else "secret_key, given in code"
        if not files and (queue := self.queue_file(self.name)) is not None:
            files = [str(keyfile.path_beside(queue))]
        named = ", ".join(one.removeprefix(keyfile.FILE) for one in files)
        return f"the key file {named}" if files else "this process alone"

    def warn_of_new_queue(self) -> None:
        """Warn, once in the life of a queue, that nobody has chosen its place.

        Whoever enqueues from another folder than the cluster's is told when it matters, and a program
        that is meant to run without a configuration is not told again.
        """
        file = None if self.placed else self.queue_file(self.name)
        if file is not None and not keyfile.exists(file):
            _log.warning(
                "a new queue is made in the state directory, because no setting names a place: the "
                "configuration was given in code, or there is no qcore.toml in %s or above: %s",
                Path.cwd(),
                file,
            )

    def settings(self) -> Settings:
        """Return the settings that brokers and stores get."""
        return Settings(
            name=self.name,
            retry=self.retry,
            bulk=self.bulk,
            poll=self.poll,
            replay_window=self._replay_window(),
            replay_is_set=self.replay_window is not None,
            replay_limit=self.replay_limit,
            sections=dict(self.sections),
        )

    def _replay_window(self) -> float:
        """Return the window; without results to store, remembering costs more than the rest allows."""
        if self.replay_window is not None:
            return self.replay_window
        return REPLAY_WINDOW if self.save_limit >= 0 else 0.0

    def check_broker(self, capabilities: Capabilities) -> tuple[str, ...]:
        """Return the problems between the settings and what the broker can do."""
        return tuple(crosscheck.broker(self, self.broker, capabilities))

    def keys(self) -> tuple[str, ...]:
        """Return the secret keys: the first signs, all verify.

        Reads the files named by `secret_key`. If it is not set, the key of an embedded broker
        is read from a file beside its database. That file is created if neither of the two exists.

        Raises:
            ConfigError: a file cannot be read or created, or contains no valid key, or the key of a
                queue that exists is gone.

        """
        if not self._keys:
            try:
                self._keys.append(self._read_keys())
            except InvalidValue as error:
                raise ConfigError([f"secret_key: {error}"]) from None
        return self._keys[0]

    def make_lost_key(self) -> Path | None:
        """Create the key of a queue in a file that has none, and return its path; None = it has one.

        What the old key has sealed cannot be read any more: remove it before.
        """
        file = None if self.secret_key else self.queue_file(self.name)
        return None if file is None else keyfile.make(file)

    def _read_keys(self) -> tuple[str, ...]:
        if self.secret_key:
            return keyfile.resolved(self.secret_key)
        if self._find_file is None:
            raise InvalidValue(
                f"missing; the broker {self.broker!r} needs one: make one with '{wording.typed('keys new')}'"
            )
        file = self._find_file(self.settings())
        # A queue that exists only in one process needs no stored key.
        return (keyfile.new(),) if file is None else keyfile.beside(file)

    def as_dict(self) -> dict[str, Any]:
        """Return a table of plain values from which `from_dict` creates an equal Config."""
        values = {name: getattr(self, name) for name in options.every()}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        reporters = {name: dict(settings) for name, settings in self.error_reporter.items()}
        return {**plain, "secret_key": list(self.secret_key) or None, "error_reporter": reporters, **self.raw}

    def secret_texts(self) -> frozenset[str]:
        """Return every text in it that must not be shown."""
        if not self._secret_texts:
            self._secret_texts.append(frozenset(wording.secrets_of(self.as_dict())))
        return self._secret_texts[0]

    def redacted(self) -> dict[str, Any]:
        """Return `as_dict()` with every secret hidden."""
        return {name: wording.redacted(value, name) for name, value in self.as_dict().items()}
