"""Settings: one frozen object, read once from GANCAO_* variables at the edge and passed in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from feature_store.errors import Usage
from feature_store.field import Frozen
from feature_store.place import Place, Remote

PREFIX = "GANCAO_"


class Settings(Frozen):
    """Each field is read from GANCAO_<NAME>; docs/settings.md is made from these sentences."""

    home: Path = Field(default=Path(".gancao"), description="Folder of everything that is kept: back this up.")
    data: Path = Field(default=Path("data"), description="Folder below which tables are read.")
    tasks: Path | None = Field(default=None, description="Folder of Task files that goes before the shipped ones.")
    views: Path | None = Field(default=None, description="Folder of View files that goes before the shipped ones.")
    online: str = Field(
        default="", description="Online store of features, redis:// or postgresql://; empty: SQLite in the home."
    )
    mlflow_uri: str = Field(default="", description="MLflow tracking and registry URI; empty: SQLite in the home.")
    artifacts: str = Field(
        default="", description="Where MLflow puts artifacts of new experiments; empty: the home, or the server's own."
    )
    journal: str = Field(
        default="",
        pattern=r"^$|^postgres(ql)?://.",
        description="Where answers are kept: the URL of a PostgreSQL; empty: SQLite in the home.",
    )
    host: str = Field(default="127.0.0.1", description="Address to serve on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to serve on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=64, description="Worker processes that answer.")
    hosts: str = Field(
        default="", description="Names besides localhost by which a server without keys is asked; with commas between."
    )
    open: bool = Field(default=False, description="Ask nobody for a key: serve anyone who reaches the port.")
    poll_s: float = Field(default=2.0, gt=0, le=60, description="Seconds between looks at the registry.")
    max_body_bytes: int = Field(default=1_000_000, ge=1000, description="Largest request body that is read.")
    max_in_flight: int = Field(
        default=64, ge=1, description="Requests that a worker answers at once; further ones get 503 and Retry-After."
    )
    max_connections: int = Field(default=900, ge=1, description="Connections that a worker keeps open at once.")
    max_header_bytes: int = Field(default=32_000, ge=1000, description="Largest headers of a request.")
    header_timeout_s: float = Field(default=10.0, gt=0, description="Seconds in which a request's headers must come.")
    body_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds in which a body must come; one more for every 5,000 bytes."
    )
    idle_timeout_s: float = Field(default=75.0, gt=0, description="Seconds that a silent connection is kept open.")
    log_requests: bool = Field(default=True, description="Write a line of the log for every request.")
    ray_address: str = Field(
        default="", description="Ray cluster of `--engine ray`, as host:port; empty: one of its own on this machine."
    )
    max_job_bytes: int = Field(default=1_000_000_000, ge=1000, description="Largest file that a batch job is made of.")
    max_jobs: int = Field(
        default=100, ge=1, le=10_000, description="Batch jobs that are kept at once, finished ones too."
    )
    job_days: float = Field(
        default=7.0, gt=0, description="Days after which a finished batch job is deleted with its result."
    )
    shadow: float = Field(
        default=1.0, ge=0, le=1, description="Share of requests that a challenger answers too; 0: none."
    )
    drain_s: float = Field(default=10.0, gt=0, le=300, description="Seconds that requests get to end at SIGTERM.")

    requests_a_minute: int = Field(
        default=0, ge=0, description="Requests a minute that each worker answers to one key; 0: any number."
    )
    oidc_issuer: str = Field(default="", description="Issuer whose tokens (JWT) are taken as keys; empty: none.")
    oidc_audience: str = Field(default="", description="What those tokens must name as their audience.")
    oidc_jwks: str = Field(default="", description="The issuer's public keys (JWKS): an https address, or a file.")
    oidc_scope_claim: str = Field(default="scope", description="The claim of a token that holds its scopes.")

    @property
    def tracking_uri(self) -> str:
        """MLflow's URI with the default filled in."""
        return self.mlflow_uri or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str | None:
        """Where a new experiment's artifacts go; None leaves it to the MLflow server that was named."""
        if self.artifacts or self.mlflow_uri.startswith(("http://", "https://")):
            return self.artifacts or None
        return (self.home.resolve() / "artifacts").as_uri()

    @property
    def cache(self) -> Path:
        """The folder between the fetcher and the workers."""
        return self.home / "cache"

    @property
    def keys(self) -> Path:
        """The file of keys, as hashes, and of sessions."""
        return self.home / "keys.db"

    @property
    def jobs(self) -> Path:
        """The folder of batch jobs."""
        return self.home / "jobs"

    @property
    def journal_place(self) -> Place:
        """Where every answer is."""
        path = self.home / "journal.db"
        return Remote(self.journal, path) if self.journal else path

    @property
    def shadows(self) -> Path:
        """The file of what challengers answered."""
        return self.home / "shadows.db"


def from_environment(environment: Mapping[str, str] = os.environ, **given: object) -> Settings:
    """Settings from GANCAO_* variables; `given` (the command line's, None left out) goes before them.

    Raises Usage naming every variable that does not fit.
    """
    values: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        text = environment.get(PREFIX + name.upper())
        if text is not None and text != "":
            values[name] = _read(text, field.annotation)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values, strict=False)
    except ValidationError as error:
        faults = [f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()]
        raise Usage("Settings that do not fit: " + "; ".join(faults) + ".") from None


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _read(text: str, kind: object) -> object:
    if kind is bool:
        return _FLAGS.get(text.lower(), text)
    return Path(text) if kind is Path or kind == Path | None else text
