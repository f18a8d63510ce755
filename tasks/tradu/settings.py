"""Every environment variable of Tradu, in one place; policies, models and profiles are YAML files beside it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tradu.errors import SystemicError


def _repository() -> Path:
    return Path(__file__).resolve().parents[2]


def _include() -> Path:
    """`include/` of the checkout, or the copy that a wheel carries."""
    packaged = Path(__file__).resolve().parent / "_include"
    return packaged if packaged.is_dir() else _repository() / "include"


def _home() -> Path:
    checkout = _repository()
    return checkout / ".tradu" if (checkout / "pyproject.toml").is_file() else Path.home() / ".tradu"


class Settings(BaseSettings):
    """What an operator may set. Each field's description is printed in docs/reference/configuration.md."""

    model_config = SettingsConfigDict(env_prefix="TRADU_", extra="ignore", frozen=True)

    home: Path = Field(
        default_factory=_home,
        description="Folder of everything the local stack makes: database, logs, store, passwords.",
    )
    include: Path = Field(
        default_factory=_include,
        description="Folder of models.yaml, profiles.yaml, expectation suites, migrations and samples.",
    )

    ledger_url: SecretStr | None = Field(
        None, description="PostgreSQL URL of the ledger. Unset: the embedded server that `tradu up` starts."
    )
    archive_url: SecretStr | None = Field(
        None,
        description="PostgreSQL URL under which archival and erasure sign in, as the role `tradu_archive`. Unset: that of the embedded server; on a server of your own, `TRADU_LEDGER_URL`, whose role then must be a member of `tradu_archive`.",
    )
    store_url: str | None = Field(
        None, description="fsspec URI of the store (`file:///srv/tradu`, `s3://bucket/prefix`). Unset: `<home>/store`."
    )
    landing_url: str | None = Field(
        None, description="fsspec URI of the landing prefix that `tradu_nightly` reads. Unset: `<store>/landing`."
    )
    models: str | None = Field(
        None, description="fsspec URI of the model store that `tradu models add` fills. Unset: `<home>/models`."
    )
    model_cache_mb: int = Field(
        20_000,
        ge=1,
        description="Most that weights fetched from a model store on S3 may take on this machine (`<home>/model-cache`), MB; the longest unused go first.",
    )
    model_memory_mb: float | None = Field(
        None,
        gt=0,
        description="Most that loaded models may take in a worker's process, MB, as the registry counts them; the longest unused are unloaded. Unset: 60 % of the worker's memory.",
    )
    sources: tuple[str, ...] = Field(
        (),
        description="URI prefixes that jobs may read documents from, besides the store's own `uploads/` and the landing prefix. JSON list.",
    )
    dask_scheduler: str = Field("tcp://127.0.0.1:8786", description="Address of the Dask scheduler.")
    dask_dashboard_port: int = Field(
        8787, description="Port of the Dask scheduler's dashboard and metrics, on 127.0.0.1."
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Dask workers that `tradu up` starts on this machine. Unset: one per core (per GPU with dask-cuda).",
    )

    pool: str = Field(
        "default",
        pattern=r"^[a-z][a-z0-9-]*$",
        description="The pool that a worker belongs to; set for its process alone.",
    )
    tier_pools: dict[str, str] = Field(
        {},
        description='Tiers that a pool of their own serves, as JSON: {"premium": "gpu"}. Unset: every worker serves every tier.',
    )
    pool_workers: dict[str, int] = Field(
        {},
        description='Workers that `tradu up` starts besides TRADU_WORKERS, by pool, as JSON: {"gpu": 1}.',
    )

    airflow_schedulers: int = Field(
        1,
        ge=1,
        le=4,
        description="Airflow schedulers that `tradu up` starts, each with its share of the task slots. With two, runs go on at once when one dies.",
    )
    api_url: str = Field("http://127.0.0.1:8080", description="Address of the Airflow API server.")
    api_user: str = Field("admin", description="User name for the Airflow API.")
    api_password: SecretStr | None = Field(
        None, description="Password for the Airflow API. Unset: the one that `tradu up` made."
    )
    postgres_port: int = Field(5433, description="Port of the embedded PostgreSQL.")

    daily_budgets: dict[str, float] = Field(
        {},
        description='What tenants may spend in a day (UTC), as JSON: {"acme": 2.5, "*": 10}, * for all others. When it is spent, nothing climbs to a higher tier. Unset: no limit.',
    )

    nightly_targets: tuple[str, ...] = Field(
        ("pt",), description="Target languages of a landing folder without a tradu.yaml. JSON list."
    )
    nightly_source: str = Field("auto", description="Source language of a landing folder without a tradu.yaml.")
    nightly_profile: str = Field("balanced", description="Profile of a landing folder without a tradu.yaml.")
    nightly_schedule: str = Field("0 2 * * *", description="Cron schedule of `tradu_nightly`.")

    airflow_retention_days: int = Field(
        30,
        ge=1,
        description="How long Airflow keeps its own records of runs and tasks, days; `tradu_upkeep` deletes older ones. Translations, states and history are not among them.",
    )
    airflow_database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of Airflow's database, for `tradu_upkeep`. Unset: the one in airflow.cfg."
    )

    max_document_bytes: int = Field(2 * 1024**3, description="Largest document taken in, bytes.")
    max_documents: int = Field(20_000, description="Most documents in one job.")
    max_block_chars: int = Field(1_200, description="Longest block, characters.")
    batch_chars: int = Field(32_000, description="Characters of source text a worker claims at once.")
    max_shards: int = Field(32, ge=1, le=1_024, description="Most shards (mapped Airflow tasks) of one job.")
    min_shard_chars: int = Field(
        200_000,
        ge=1,
        description="While nothing is measured a shard is not made smaller than this, characters of source text.",
    )

    lease_seconds: float = Field(
        15,
        gt=0,
        description="How long a worker's claim on a batch, or a task's on a stage, holds without a heartbeat, seconds. A lost worker's blocks are free again after it.",
    )
    batch_seconds: float = Field(
        900,
        gt=0,
        description="Longest time a worker may hold one batch, heartbeat or not, seconds: an engine that hangs loses its blocks.",
    )
    max_attempts: int = Field(3, description="Attempts at one block before it is quarantined.")
    stall_seconds: float = Field(
        20,
        description="A shard with open blocks, no live lease and no change for this long is looked for in Dask's queue, and submitted again where it isn't there, seconds.",
    )
    circuit_failures: int = Field(
        5,
        ge=1,
        description="So many failures of one cause in a row open the circuit of a model or of the store: nothing is claimed for it until a trial succeeds.",
    )
    circuit_seconds: float = Field(
        10,
        gt=0,
        description="How long an open circuit waits for its first trial, seconds; each trial that fails doubles it, up to 32 times.",
    )
    watchdog_schedule: str = Field("* * * * *", description="Cron schedule of `tradu_watchdog`.")
    decision_days: float = Field(
        7, gt=0, description="A job that a gate has stopped is dropped when nobody has decided for this long, days."
    )
    orphan_hours: float = Field(
        24,
        gt=0,
        description="An object of the store that no row of the ledger names is an orphan when it is older than this, hours.",
    )
    alert_url: SecretStr | None = Field(
        None, description='Where alerts of the watchdog are posted as JSON (`{"text": ...}`). Unset: nowhere.'
    )

    poll_seconds: float = Field(0.5, description="How often a trigger asks the ledger about its shards, seconds.")

    max_bad_share: float = Field(0.2, ge=0, le=1, description="Share of bad rows above which a gate stops the run.")
    cpu_price_per_hour: float = Field(
        0.04,
        description="Price of one CPU core for an hour, in the currency of your bills; costs are computed from it.",
    )

    @property
    def store(self) -> str:
        """URI of the store, without a trailing slash."""
        return (self.store_url or (self.home / "store").as_uri()).rstrip("/")

    @property
    def landing(self) -> str:
        """URI of the landing prefix, without a trailing slash."""
        return (self.landing_url or f"{self.store}/landing").rstrip("/")

    @property
    def model_store(self) -> str:
        """URI of the model store, without a trailing slash."""
        return (self.models or (self.home / "models").as_uri()).rstrip("/")

    @property
    def ledger_dsn(self) -> str:
        """PostgreSQL connection string of the ledger.

        Raises:
            SystemicError: no URL is set and no embedded server was set up.
        """
        if self.ledger_url is not None:
            return self.ledger_url.get_secret_value()
        file = self.home / "ledger.url"
        if not file.is_file():
            raise SystemicError(
                f"no ledger: set TRADU_LEDGER_URL or start the local stack with `tradu up` ({file} is missing)"
            )
        return file.read_text().strip()

    @property
    def archive_dsn(self) -> str:
        """PostgreSQL connection string under which history may be deleted: of the role `tradu_archive`.

        Raises:
            SystemicError: no URL is set and no embedded server was set up.
        """
        if self.archive_url is not None:
            return self.archive_url.get_secret_value()
        file = self.home / "archive.url"
        if self.ledger_url is None and file.is_file():
            return file.read_text().strip()
        return self.ledger_dsn


@lru_cache(maxsize=1)
def _cached(_environment: tuple[tuple[str, str], ...]) -> Settings:
    return Settings()


def get_settings() -> Settings:
    """The settings of this process, read from the environment (again when it has changed)."""
    return _cached(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("TRADU_"))))
