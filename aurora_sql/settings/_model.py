"""The one model of all settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

from ._checks import contradictions
from ._json import read_section
from ._report import Keys, problems
from ._sources import CALL, ORIGIN, VALUES_ONLY, Given, MergedSource, Origin, Sourced
from ._tls import TlsPlan, plan
from ._url import read_url
from ._values import (
    Address,
    ReaderSelection,
    SslMode,
    TopologyMode,
    address,
    addresses,
    choice,
    duration,
    engine_name,
    instance_addresses,
    instance_weights,
    is_loopback,
    is_socket,
    whole_number,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_LONGEST_APPLICATION_NAME = 63
_SHORTEST_TOKEN_SECRET = 16

T = TypeVar("T")


def _text(value: str) -> str:
    # The protocol ends its texts with NUL: one inside would smuggle in parameters of its own.
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return _text(value)


def _secret(value: SecretStr) -> SecretStr:
    _text(value.get_secret_value())
    return value


def _token_secret(value: SecretStr) -> SecretStr:
    _secret(value)
    if len(value.get_secret_value()) < _SHORTEST_TOKEN_SECRET:
        raise ValueError(f"must have at least {_SHORTEST_TOKEN_SECRET} characters, made by chance")
    return value


def _none_if_empty(value: T) -> T | None:
    # In files a setting that is not used often stands there with an empty text.
    return None if isinstance(value, str) and not value.strip() else value


def _application_name(value: str) -> str:
    if len(value) > _LONGEST_APPLICATION_NAME or not value.isascii() or not value.isprintable():
        # The server would cut it or replace its characters without a word.
        raise ValueError(f"must be at most {_LONGEST_APPLICATION_NAME} printable ASCII characters")
    return value


def _writer(value: str) -> str:
    if "," in value:
        raise ValueError("must name one writer; several readers go into the read endpoint")
    address(value, 1)
    return value.strip()


def _readers(value: str) -> str:
    addresses(value, 1)
    return value.strip()


def _instances(value: str) -> str:
    instance_addresses(value, 1)
    return value.strip()


def _weights(value: str) -> str:
    instance_weights(value)
    return value.strip()


_Seconds = Annotated[float, BeforeValidator(duration)]
_Count = Annotated[int, BeforeValidator(whole_number), Field(ge=0)]
_Positive = Annotated[int, BeforeValidator(whole_number), Field(ge=1)]
_Name = Annotated[str, AfterValidator(_filled)]
_OptionalText = Annotated[
    Annotated[str, AfterValidator(_text)] | None, BeforeValidator(_none_if_empty)
]
_OptionalSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_secret)] | None, BeforeValidator(_none_if_empty)
]


@dataclass(frozen=True, slots=True)
class ConnectionValues:
    """What a driver needs to reach one host, as plain values.

    Attributes:
        host: Host name or address, or the folder of a Unix socket.
        port: TCP port.
        database: Name of the database.
        user: Name of the user.
        password: Password, None to log in without one.
        tls: How the connection is protected.
        connect_timeout: Seconds for TCP, TLS and login together.
        command_timeout: Seconds that the server gives a statement.
        application_name: Shown in the server's session list.
    """

    host: str
    port: int
    database: str
    user: str
    password: SecretStr | None
    tls: TlsPlan
    connect_timeout: float
    command_timeout: float
    application_name: str


class AuroraSettings(BaseSettings):
    """Everything that can be set, from the call, ``AURORA_*`` variables, ``.env`` or a file.

    ``AuroraSettings()`` reads the environment and ``.env``; values given in the call win.
    :meth:`from_json`, :meth:`from_url` and :meth:`from_values` are the other ways in. Instances
    are immutable; :meth:`replace` makes a changed one. An empty variable counts as not set.

    Durations are seconds as ``float``; every source may write a number of seconds or a text such
    as ``"500ms"``, ``"30s"``, ``"2m"`` or ``"00:00:30"``.

    A setting whose feature is not built yet is refused by name unless it has its default.

    Attributes:
        engine: Database engine. Default ``postgresql``.
        write_endpoint: Host of the writer, ``host`` or ``host:port``, IPv6 in brackets, or the
            folder of a Unix socket. Required.
        read_endpoint: Reader or readers, the same way, separated by commas. Default none: reads
            go to the writer.
        database: Name of the database. Required.
        username: Name of the user. Required.
        password: Password. Default none (the server may trust, or ask for a certificate).
        port: TCP port where an endpoint names none. Default 5432.
        max_pool_size: Most connections per instance. Default 100.
        min_pool_size: Connections per instance that are kept open. Default 10, or
            ``max_pool_size`` where that is less.
        max_waiting: Most callers that may wait for a connection of one instance. Default 10,000.
        max_connection_lifetime: Seconds after which a connection is replaced. Default 30 minutes.
        connection_idle_timeout: Seconds after which an idle connection above the minimum is
            closed. Default 10 minutes.
        connection_check_after: Seconds of idling after which a connection is checked before it
            is lent. Default 30.
        connection_timeout: Seconds for opening a connection, and for waiting for one of the
            pool. Default 30.
        command_timeout: Seconds that a statement may take unless it or its caller says
            otherwise. Default 60.
        max_prepared_statements: Prepared statements kept per connection. Default 256.
        enable_retry_on_failure: Run again what certainly changed nothing. Default true.
        max_retry_count: Most further attempts. Default 3.
        max_retry_delay: Longest pause between two attempts in seconds. Default 30.
        retry_budget: Tokens for the further attempts of all calls together: one takes 5, after a
            timeout 10; a call that succeeds gives back 1, or what its last retry took. 0 for no
            bound. Default 500.
        enable_read_replicas: Use the readers; false sends all reads to the writer. Default true.
        reader_selection: ``least_loaded`` (default): fewest callers that have or wait for a
            connection. ``round_robin``. ``random``. ``fastest``: answers soonest when it is
            looked at. ``weighted``: at random, by ``reader_weights``.
        reader_weights: ``id=weight`` pairs, separated by commas, for ``weighted``. An identifier is
            that of the instance, ``host:port`` with static endpoints; one that is not named
            has 1, and one with 0 gets reads only where nobody else can.
        max_replica_lag: Seconds. A reader that is further behind, or of which that is not known,
            gets no reads. Default none: any reader will do.
        topology: Who tells which instances there are. ``aurora``: any of them, asked for all
            (Aurora, and RDS Multi-AZ clusters). ``static``: the endpoints in these settings are
            the instances, each asked for its role. ``auto`` (default): ``aurora`` where the
            name of the write endpoint is Amazon's or ``instance_endpoints`` is set and the
            server can tell, else ``static``.
        instance_endpoints: Where an instance is found by its identifier, needed where the write
            endpoint is no name of Amazon's: ``?.db.example.com:5432``, with the identifier in
            place of ``?``; or ``id=host:port``; or several, separated by commas.
        topology_refresh: Seconds between two looks at the instances while all is well. Default 5.
        failure_detection: Seconds in which an instance that has stopped answering is given up:
            its connections are closed, and their callers told, though their own time is not
            over. Default 3.
        use_ssl: True demands TLS (``verify-full`` unless ``ssl_mode`` says otherwise), false
            forbids it, which for a host other than this machine takes ``ssl_mode=disable``.
        ssl_mode: ``disable``, ``allow``, ``prefer``, ``require``, ``verify-ca`` or
            ``verify-full``. Default: ``verify-full``; ``prefer`` for a loopback address;
            ``disable`` for a Unix socket.
        ssl_root_cert: File of trusted certificates in PEM, or ``system``. Default: those of the
            machine. Servers of Amazon RDS need the bundle that AWS publishes for them.
        use_iam_authentication: Not built yet.
        iam_role_arn: Not built yet.
        region: Not built yet.
        secret_id: Not built yet.
        token_secret: Signs the tokens of sessions: at least 16 characters, the same in all
            processes that hand tokens to each other. Default: each process has a key of its own.
        proxy_mode: Not built yet.
        application_name: Shown in the server's session list. Default ``aurora_sql``.
        enable_sensitive_data_logging: Show the values of parameters in logs and errors. Default
            false: they appear in neither.
        enable_detailed_errors: Add the statement's text and the server's detail and hint lines
            to the messages of errors. Default false: they are attributes of the error only.
            A detail line may quote values of the row.
    """

    model_config = SettingsConfigDict(
        env_prefix="AURORA_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    engine: Annotated[Engine, BeforeValidator(engine_name)] = Engine.POSTGRESQL
    write_endpoint: Annotated[str, AfterValidator(_writer)]
    read_endpoint: Annotated[
        Annotated[str, AfterValidator(_readers)] | None, BeforeValidator(_none_if_empty)
    ] = None
    database: _Name
    username: _Name
    password: _OptionalSecret = None
    port: Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=65535)] = 5432

    max_pool_size: _Positive = 100
    min_pool_size: _Count = Field(
        default_factory=lambda given: min(10, given.get("max_pool_size", 10))
    )
    max_waiting: _Count = 10_000
    max_connection_lifetime: _Seconds = 1800.0
    connection_idle_timeout: _Seconds = 600.0
    connection_check_after: _Seconds = 30.0
    connection_timeout: _Seconds = 30.0
    command_timeout: _Seconds = 60.0
    max_prepared_statements: _Positive = 256

    enable_retry_on_failure: bool = True
    max_retry_count: _Count = 3
    max_retry_delay: _Seconds = 30.0
    retry_budget: _Count = 500

    enable_read_replicas: bool = True
    reader_selection: Annotated[
        ReaderSelection, BeforeValidator(lambda value: choice(value, ReaderSelection))
    ] = ReaderSelection.LEAST_LOADED
    reader_weights: Annotated[
        Annotated[str, AfterValidator(_weights)] | None, BeforeValidator(_none_if_empty)
    ] = None
    max_replica_lag: _Seconds | None = None
    topology: Annotated[
        TopologyMode, BeforeValidator(lambda value: choice(value, TopologyMode))
    ] = TopologyMode.AUTO
    instance_endpoints: Annotated[
        Annotated[str, AfterValidator(_instances)] | None, BeforeValidator(_none_if_empty)
    ] = None
    topology_refresh: _Seconds = 5.0
    failure_detection: _Seconds = 3.0

    use_ssl: bool | None = None
    ssl_mode: Annotated[SslMode, BeforeValidator(lambda value: choice(value, SslMode))] | None = (
        None
    )
    ssl_root_cert: _OptionalText = None

    use_iam_authentication: bool = False
    iam_role_arn: _OptionalText = None
    region: _OptionalText = None
    secret_id: _OptionalText = None
    token_secret: Annotated[
        Annotated[SecretStr, AfterValidator(_token_secret)] | None, BeforeValidator(_none_if_empty)
    ] = None
    proxy_mode: bool = False

    application_name: Annotated[str, AfterValidator(_application_name)] = "aurora_sql"
    enable_sensitive_data_logging: bool = False
    enable_detailed_errors: bool = False

    @classmethod
    def from_json(cls, path: str | Path, section: str = "AuroraDB") -> Self:
        """Read a section of a JSON file such as ``appsettings.json``.

        Keys are the fields' names in PascalCase (``MaxPoolSize``, ``SSLMode``), whatever their
        case. Comments and trailing commas are read as .NET reads them. ``AURORA_*`` variables
        and ``.env`` win over the file, so that a password need not stand in it.

        Args:
            path: The file.
            section: Name of the section, levels separated by ``:``. One that is not at the top
                is found below it if no other has its name.

        Raises:
            ConfigurationError: The file or a value in it is wrong.
        """
        values, origin = read_section(Path(path), section, cls.model_fields)
        return cls._build(values, origin)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read ``postgresql://user:password@host:port/database?sslmode=…&read=…``.

        Every part is percent-decoded. ``read`` takes readers separated by commas; ``sslmode``,
        ``sslrootcert``, ``connect_timeout`` and the names of the other settings
        (``max_pool_size=20``) may follow it. The URL wins over ``AURORA_*`` variables and
        ``.env``, which give what it leaves out.

        Raises:
            ConfigurationError: The URL or a value in it is wrong. The message does not repeat it.
        """
        values, origin = read_url(url, cls.model_fields)
        return cls._build(values, origin)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """Take exactly these values, by field name; neither the environment nor ``.env``.

        Raises:
            ConfigurationError: A value is wrong.
        """
        return cls._build(values, VALUES_ONLY)

    def replace(self, changes: Mapping[str, object]) -> Self:
        """Return a copy with some values changed and everything checked again.

        Raises:
            ConfigurationError: A value is wrong.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return self._build({**kept, **changes}, VALUES_ONLY)

    @classmethod
    def _build(cls, values: Mapping[str, object], origin: Origin) -> Self:
        options: dict[str, Any] = {ORIGIN: Given(values, origin)}
        return cls(**options)

    def __setattr__(self, name: str, value: object) -> None:
        if name in type(self).model_fields:
            # pydantic's own error would show the value, which may be a password.
            raise ConfigurationError(
                f"Settings are frozen: replace({{{name!r}: …}}) makes a changed copy"
            )
        super().__setattr__(name, value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replace pydantic's sources by one that remembers how each key was spelled."""
        return (MergedSource(settings_cls, init_settings, env_settings, dotenv_settings),)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Turn every problem into one readable error."""
        if not isinstance(data, dict) or ORIGIN not in data:
            # The outer pass of model_validate(); the inner one, by __init__, has the origin.
            return handler(data)
        values, keys = _unwrap(data, cls.model_fields)
        settings: Self | None = None
        try:
            settings = handler(values)
        except ValidationError as exc:
            found = problems(exc, keys)
        else:
            found = list(contradictions(settings, keys))
        # Raised out here so that pydantic's error, which holds the input, is not its context.
        if found or settings is None:
            raise ConfigurationError(_message(found))
        return settings

    def writer_address(self) -> Address:
        """Host and port of the writer."""
        return address(self.write_endpoint, self.port)

    def reader_addresses(self) -> tuple[Address, ...]:
        """Host and port of each reader; none where ``enable_read_replicas`` is false."""
        if self.read_endpoint is None or not self.enable_read_replicas:
            return ()
        return addresses(self.read_endpoint, self.port)

    def instance_addresses(self) -> dict[str, Address]:
        """Host and port of instances by identifier; under ``?`` the pattern for all others."""
        if self.instance_endpoints is None:
            return {}
        return instance_addresses(self.instance_endpoints, self.port)

    def weights(self) -> dict[str, float]:
        """Weights of readers by identifier; one that is not named has 1."""
        return {} if self.reader_weights is None else instance_weights(self.reader_weights)

    def ssl_mode_for(self, host: str) -> SslMode:
        """The mode for a host: the one that is set, else the default for its kind."""
        if self.ssl_mode is not None:
            return self.ssl_mode
        if self.use_ssl is False or is_socket(host):
            return SslMode.DISABLE
        if self.use_ssl is None and is_loopback(host):
            return SslMode.PREFER
        return SslMode.VERIFY_FULL

    def tls_plan(self, host: str) -> TlsPlan:
        """How connections to a host are protected. Reads ``ssl_root_cert`` anew.

        Raises:
            ConfigurationError: ``ssl_root_cert`` is missing, unreadable or not PEM.
        """
        return plan(self.ssl_mode_for(host), self.ssl_root_cert, "ssl_root_cert")

    def tls_context(self, host: str | None = None) -> ssl.SSLContext | None:
        """The TLS context for a host (default: the writer); None where TLS is never tried.

        Raises:
            ConfigurationError: ``ssl_root_cert`` is missing, unreadable or not PEM.
        """
        return self.tls_plan(host if host is not None else self.writer_address()[0]).context

    def connection_values(self, host: str, port: int) -> ConnectionValues:
        """What a driver needs to reach a host. Makes a new TLS context; keep the result.

        Raises:
            ConfigurationError: ``ssl_root_cert`` is missing, unreadable or not PEM.
        """
        return ConnectionValues(
            host=host,
            port=port,
            database=self.database,
            user=self.username,
            password=self.password,
            tls=self.tls_plan(host),
            connect_timeout=self.connection_timeout,
            command_timeout=self.command_timeout,
            application_name=self.application_name,
        )

    @property
    def shows_parameter_values(self) -> bool:
        """Whether the values of parameters may appear in logs and in messages of errors."""
        return self.enable_sensitive_data_logging

    @property
    def shows_statement_text(self) -> bool:
        """Whether messages of errors quote the statement's text."""
        return self.enable_detailed_errors

    @property
    def shows_server_detail(self) -> bool:
        """Whether messages of errors repeat the server's detail and hint lines."""
        return self.enable_detailed_errors


def _unwrap(data: dict[str, Any], fields: Mapping[str, Any]) -> tuple[dict[str, Any], Keys]:
    origin = data.get(ORIGIN)
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for name, value in data.items():
        if name == ORIGIN:
            continue
        values[name] = value.value if isinstance(value, Sourced) else value
        if isinstance(value, Sourced):
            given[name] = value.key
    return values, Keys(given, origin if isinstance(origin, Origin) else CALL, fields)


def _message(found: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    return "The settings have several problems:\n" + "\n".join(f"  {line}" for line in found)
