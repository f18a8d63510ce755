"""Picks what a nightly run works on: documents in the landing prefix that are not settled yet, by content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tradu import s3
from tradu.errors import RequestError, TransientError
from tradu.ingestion.sources import CONFIGURATION, Source, expand
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job
from tradu.ledger.states import DocumentState, JobState
from tradu.settings import Settings
from tradu.store import opened, sha256_of, split_uri

log = logging.getLogger(__name__)


class LandingConfiguration(BaseModel):
    """A `tradu.yaml` beside documents: what it leaves out comes from the folder above, and last from the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[str, ...]
    source: str = "auto"
    profile: str = "balanced"
    tenant: str = "default"
    region: str = "default"
    columns: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class NightlyRequest:
    """Documents of one folder's configuration."""

    configuration: LandingConfiguration
    documents: tuple[str, ...]
    key: str

    def conf(self) -> dict[str, Any]:
        """The conf of a `tradu_translate` run."""
        c = self.configuration
        lists = {"columns": c.columns, "fields": c.fields}
        return {
            "documents": list(self.documents),
            "targets": list(c.targets),
            "source": c.source,
            "profile": c.profile,
            "tenant": c.tenant,
            "region": c.region,
            "idempotency_key": self.key,
            "options": {**{n: list(v) if v else None for n, v in lists.items()}, "encoding": c.encoding},
        }


def pick(settings: Settings, ledger: Ledger) -> list[NightlyRequest]:
    """What is new in the landing prefix: a request per configuration, or several where it is more than a job may have.

    A document counts as settled when a job of the same languages and profile has ended with it, well or not: one that
    is corrupt is reported once and not tried every night. So it does when a person had the job cancelled or dropped, or
    has yet to decide about it: `tradu resume` and `tradu translate` do it after all. A changed file is new, whatever
    its name; so is one that is again what it was, where its job went on with what had replaced it.

    Raises:
        RequestError: a tradu.yaml can't be used; the message names it and says why.
    """
    settled_before = 0
    requests = []
    found = sorted(_sources(settings), key=lambda item: (item[0].model_dump_json(), item[1].path))
    for configuration, group in groupby(found, key=lambda item: item[0]):
        contents = [(source, _content(source)) for _, source in group]
        known = _settled(configuration, [c for _, c in contents], ledger)
        fresh = [(source, content) for source, content in contents if content not in known]
        settled_before += len(contents) - len(fresh)
        for start in range(0, len(fresh), settings.max_documents):
            requests.append(_request(configuration, fresh[start : start + settings.max_documents], ledger))
    log.info("%d requests; %d documents were settled before", len(requests), settled_before)
    return requests


def load_ahead(requests: list[NightlyRequest], settings: Settings, ledger: Ledger) -> None:
    """Have the workers load the models of tonight's requests, where it is known which language they are in."""
    from tradu.cluster.warm import Waiting, warm

    asked = [r.configuration for r in requests if r.configuration.source != "auto"]
    warm(ledger, settings, further=[Waiting(c.source, target, c.profile, 1) for c in asked for target in c.targets])


def _sources(settings: Settings) -> Iterator[tuple[LandingConfiguration, Source]]:
    fs, root = split_uri(settings.landing)
    with s3.meaning(fs, root):
        if not fs.exists(root) or not any(True for _ in fs.find(root)):
            return
    configurations: dict[str, LandingConfiguration] = {}
    for source in expand([f"{settings.landing}/"], settings, limited=False):
        yield _configuration(str(PurePosixPath(source.path).parent), settings, configurations), source


def _configuration(folder: str, settings: Settings, known: dict[str, LandingConfiguration]) -> LandingConfiguration:
    """The configuration of a folder inside the landing prefix: its own tradu.yaml over that of the folder above."""
    if folder in known:
        return known[folder]
    if folder == ".":
        base = LandingConfiguration(
            targets=settings.nightly_targets, source=settings.nightly_source, profile=settings.nightly_profile
        )
    else:
        base = _configuration(str(PurePosixPath(folder).parent), settings, known)
    uri = f"{settings.landing}/{'' if folder == '.' else folder + '/'}{CONFIGURATION}"
    with suppress(FileNotFoundError), opened(uri) as (stream, _):
        base = _read(uri, stream.read(64 * 1024), base)
    known[folder] = base
    return base


def _read(uri: str, text: bytes, base: LandingConfiguration) -> LandingConfiguration:
    try:
        own = yaml.safe_load(text) or {}
        if not isinstance(own, dict):
            raise RequestError(f"{uri}: must hold settings such as `targets: [pt, es]`")
        return LandingConfiguration.model_validate({**base.model_dump(), **own})
    except (yaml.YAMLError, ValidationError) as error:
        raise RequestError(f"{uri}: {error}") from error


def _content(source: Source) -> str:
    with opened(source.uri) as (stream, _):
        return sha256_of(stream)


def _settled(configuration: LandingConfiguration, contents: list[str], ledger: Ledger) -> set[str]:
    with ledger.transaction() as tx:
        rows = tx.tuples(
            "settled_documents",
            document_ids=contents,
            tenant=configuration.tenant,
            profile=configuration.profile,
            source=configuration.source,
            targets=list(configuration.targets),
        )
    return {content for (content,) in rows}


def _request(configuration: LandingConfiguration, fresh: list[tuple[Source, str]], ledger: Ledger) -> NightlyRequest:
    contents = tuple(sorted({content for _, content in fresh}))
    uris = tuple(f"{source.uri.removesuffix(source.path)}./{source.path}" for source, _ in fresh)
    name = "\n".join((configuration.model_dump_json(), *contents, *uris))
    first = f"nightly-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:32]}"
    keys = (first if n == 1 else f"{first}-{n}" for n in count(1))
    key = next(k for k in keys if not _went_on_without(configuration.tenant, k, contents, ledger))
    return NightlyRequest(configuration, uris, key)


def _went_on_without(tenant: str, key: str, contents: Sequence[str], ledger: Ledger) -> bool:
    asked = {"tenant": tenant, "idempotency_key": key, "document_ids": list(contents)}
    with ledger.transaction() as tx:
        return bool(tx.tuples("went_on_without", **asked)[0][0])


def report(confs: list[dict[str, Any]], ledger: Ledger) -> list[dict[str, Any]]:
    """How the jobs of a nightly run ended, in counts; the log has every document that is not complete, and why.

    Raises:
        TransientError: a job has not ended, or ended without a single document; not where a person cancelled it.
    """
    reports = [_report(conf, ledger) for conf in confs]
    well = (JobState.COMPLETED, JobState.PARTIAL, JobState.CANCELED)
    failed = [one for one in reports if one["state"] not in well]
    if failed:
        raise TransientError("; ".join(f"job {one['job_id']} is {one['state']}: {one['reason']}" for one in failed))
    return reports


def _report(conf: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    with ledger.transaction() as tx:
        jobs = tx.rows("job_of_key", Job, tenant=conf["tenant"], idempotency_key=conf["idempotency_key"])
        if not jobs:
            return {"job_id": None, "state": "missing", "reason": "its run did not start", "documents": 0, "told": 0}
        job = jobs[0]
        documents = tx.rows("documents", Document, job_id=job.job_id)
    told = [d for d in documents if d.state != DocumentState.COMPLETED or d.reason]
    log.info("job %s: %s (%s)", job.job_id, job.state, job.reason or "every document is complete")
    for document in told:
        log.warning("%s: %s: %s", document.paths[0], document.state, document.reason)
    counts = {"documents": len(documents), "told": len(told)}
    return {"job_id": str(job.job_id), "state": job.state, "reason": job.reason, **counts}
