"""The one model of all settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

from ._checks import contradictions
from ._fields import (
    ApplicationName,
    Count,
    DriverChoice,
    EngineChoice,
    InstanceEndpoints,
    Name,
    OptionalSecret,
    OptionalSslMode,
    OptionalText,
    Port,
    Positive,
    ReadEndpoint,
    ReaderWeights,
    Seconds,
    SelectionChoice,
    TokenSecret,
    TopologyChoice,
    WriteEndpoint,
)
from ._json import read_section
from ._report import Keys, problems
from ._sources import CALL, ORIGIN, VALUES_ONLY, Given, MergedSource, Origin, Sourced
from ._tls import TlsPlan, plan
from ._url import read_url
from ._values import (
    DEFAULT_PORTS,
    Address,
    MysqlDriver,
    ReaderSelection,
    SslMode,
    TopologyMode,
    address,
    addresses,
    instance_addresses,
    instance_weights,
    is_loopback,
    is_socket,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


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
        port: TCP port where an endpoint names none. Default 5432, for ``mysql`` 3306.
        mysql_driver: Which driver speaks to MySQL: ``aiomysql``, ``asyncmy``, or ``auto``: the
            faster asyncmy where it is installed. Default ``auto``.
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
        cache_max_bytes: Most memory that the answers of statements with ``cache:`` may take
            together, in bytes, estimated; 0 keeps none. Default 64 MiB.
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

    engine: EngineChoice = Engine.POSTGRESQL
    write_endpoint: WriteEndpoint
    read_endpoint: ReadEndpoint = None
    database: Name
    username: Name
    password: OptionalSecret = None
    port: Port = Field(
        default_factory=lambda given: DEFAULT_PORTS[given.get("engine", Engine.POSTGRESQL)]
    )
    mysql_driver: DriverChoice = MysqlDriver.AUTO

    max_pool_size: Positive = 100
    min_pool_size: Count = Field(
        default_factory=lambda given: min(10, given.get("max_pool_size", 10))
    )
    max_waiting: Count = 10_000
    max_connection_lifetime: Seconds = 1800.0
    connection_idle_timeout: Seconds = 600.0
    connection_check_after: Seconds = 30.0
    connection_timeout: Seconds = 30.0
    command_timeout: Seconds = 60.0
    max_prepared_statements: Positive = 256
    cache_max_bytes: Count = 64 * 1024 * 1024

    enable_retry_on_failure: bool = True
    max_retry_count: Count = 3
    max_retry_delay: Seconds = 30.0
    retry_budget: Count = 500

    enable_read_replicas: bool = True
    reader_selection: SelectionChoice = ReaderSelection.LEAST_LOADED
    reader_weights: ReaderWeights = None
    max_replica_lag: Seconds | None = None
    topology: TopologyChoice = TopologyMode.AUTO
    instance_endpoints: InstanceEndpoints = None
    topology_refresh: Seconds = 5.0
    failure_detection: Seconds = 3.0

    use_ssl: bool | None = None
    ssl_mode: OptionalSslMode = None
    ssl_root_cert: OptionalText = None

    use_iam_authentication: bool = False
    iam_role_arn: OptionalText = None
    region: OptionalText = None
    secret_id: OptionalText = None
    token_secret: TokenSecret = None
    proxy_mode: bool = False

    application_name: ApplicationName = "aurora_sql"
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
