"""Every format passes the one suite: on samples, on generated documents, on garbage, and on files of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tradu.documents.model import FormatOptions
from tradu.documents.registry import detect_format, format_named, formats
from unit.documents import conformance
from unit.documents.conformance import Case, GeneratedStream
from unit.documents.strategies import DOCUMENTS

SAMPLES = Path(__file__).parents[3] / "include" / "samples"
SAMPLE_FILES = sorted(p for p in SAMPLES.rglob("*") if p.is_file() and p.suffix not in ("", ".yaml"))
CHECKS = [
    conformance.check_units,
    conformance.check_identity,
    conformance.check_pseudo,
    conformance.check_rewriting,
    conformance.check_small_reads,
]
PHASES = [Phase.explicit, Phase.generate, Phase.shrink]  # explaining a failure is slow
generated = settings(
    max_examples=30, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LARGE = {
    "text": (b"", b"The observatory opens at dusk and closes when the last visitor has gone home.\n\n"),
    "markdown": (b"", b"# A heading for the night\n\nThe observatory opens at dusk, and [closes](x.md) late.\n\n"),
    "html": (b"<html><body>", b"<p>The observatory opens at <b>dusk</b> and closes when the last one has left.</p>\n"),
    "csv": (b"id,name,text\n", b'1,Lamp,"A red lamp, so that eyes stay used to the dark"\n'),
    "tsv": (b"id\tname\ttext\n", b"1\tLamp\tA red lamp so that eyes stay used to the dark\n"),
    "jsonl": (b"", b'{"id": 1, "text": "A red lamp keeps eyes used to the dark"}\n'),
}


def test_every_format_has_generated_documents() -> None:
    assert set(DOCUMENTS) == set(formats()) == set(LARGE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda p: p.name)
def test_samples(path: Path, check: object) -> None:
    data = path.read_bytes()
    case = Case(path.name, detect_format(path.name, data[:4096]), data)
    assert len(conformance.extract(case)) > 3
    check(case)  # type: ignore[operator]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_generated(name: str, check: object) -> None:
    @generated
    @given(DOCUMENTS[name])
    def run(data: bytes) -> None:
        options = FormatOptions(columns=("1", "2")) if name in ("csv", "tsv") else FormatOptions()
        case = Case(name, format_named(name), data, options)
        check(case)  # type: ignore[operator]

    run()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_garbage_never_raises_anything_else(name: str) -> None:
    @generated
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace"))))
    def run(data: bytes) -> None:
        conformance.check_survives(format_named(name), data)

    run()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_truncated_documents_never_raise_anything_else(name: str) -> None:
    @generated
    @given(DOCUMENTS[name], st.integers(0, 300))
    def run(data: bytes, length: int) -> None:
        conformance.check_survives(format_named(name), data[:length])

    run()


@pytest.mark.parametrize("name", sorted(LARGE))
def test_memory_is_flat_as_the_document_grows(name: str) -> None:
    head, part = LARGE[name]
    options = FormatOptions(columns=("text",)) if name in ("csv", "tsv") else FormatOptions()
    peaks = []
    for size in (768 * 1024, 1280 * 1024):  # both more than what is parsed at a time
        count, peak = conformance.peak_bytes(format_named(name), GeneratedStream(head, part, size), options)
        assert count >= size // len(part)
        peaks.append(peak)
    assert peaks[1] < 1.05 * peaks[0], peaks
