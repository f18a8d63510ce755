"""Writes docs/reference/states.md from the one table of states: `python -m tradu.cli.reference_states`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from tradu.ledger import states
from tradu.ledger.states import BlockState, DocumentState, JobState

MADE = "<!-- Made by `python -m tradu.cli.reference_states`: change the code, not this file. -->\n"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "states.md"
_INTRODUCTION = """# States

Every legal transition of jobs, documents and blocks, from `tasks/tradu/ledger/states.py`. The database holds the same
table and refuses every other transition; each one that happens is a row of the append-only table `history`. What a
state or its reason means for you is in [Why did my document stop?](../why-did-my-document-stop.md).
"""

JOB: dict[JobState, str] = {
    JobState.DEFERRED: "It waits for its turn: enough runs already. `tradu queue` says why, and who is next.",
    JobState.ADMITTED: "It is known and checked, and no run works on it yet.",
    JobState.RUNNING: "A DAG run works on it.",
    JobState.COMPLETED: "Every document is COMPLETED.",
    JobState.PARTIAL: "Some documents are not complete. The same request again redoes what failed.",
    JobState.ERROR: "No document could be translated, a gate stopped it, or its run failed. The same request again "
    "redoes what failed; where it ended before its turn had come, it waits for that again.",
    JobState.CANCELED: "Somebody cancelled it. What was finished stays.",
}
DOCUMENT: dict[DocumentState, str] = {
    DocumentState.REGISTERED: "Its bytes are in the store.",
    DocumentState.PARTITIONED: "It is cut into blocks.",
    DocumentState.TRANSLATING: "Its blocks passed their gate and are being translated.",
    DocumentState.ASSEMBLING: "It is being put together, judged and published.",
    DocumentState.COMPLETED: "Every block of every language is COMPLETED and its output went out.",
    DocumentState.PARTIAL: "It went out with some blocks in the source language, or not in every language.",
    DocumentState.ERROR: "It could not be read, none of its blocks could be translated, or every output was refused.",
    DocumentState.CANCELED: "Its job was cancelled before it was finished.",
}
BLOCK: dict[BlockState, str] = {
    BlockState.PENDING: "It waits for a worker, or for another attempt.",
    BlockState.CLAIMED: "A worker holds it under a lease.",
    BlockState.PROCESSING: "It was being translated (written with the commit that ends the attempt).",
    BlockState.VALIDATING: "Its translation is stored and waits for the gate.",
    BlockState.COMPLETED: "The gate accepted it, or it was in the target language already.",
    BlockState.ERROR: "Quarantined: refused by a gate, or every attempt failed. Its dead letter says why.",
    BlockState.CANCELED: "Its job was cancelled before it was finished.",
}

_S = TypeVar("_S", bound=StrEnum)


def page() -> str:
    """The page of states and transitions."""
    sections = [
        _section("Jobs", JOB, states.JOB_TRANSITIONS),
        _section("Documents", DOCUMENT, states.DOCUMENT_TRANSITIONS),
        _section("Blocks", BLOCK, states.BLOCK_TRANSITIONS),
    ]
    return "\n".join([MADE, _INTRODUCTION, *sections])


def _section(title: str, meanings: Mapping[_S, str], table: Mapping[str, Sequence[_S]]) -> str:
    lines = [f"## {title}\n", "| state | may go to | meaning |", "| --- | --- | --- |"]
    lines.append(f"| (new) | {_listed(table[states.NEW])} | |")
    lines += [f"| {state} | {_listed(table.get(state, ()))} | {meaning} |" for state, meaning in meanings.items()]
    return "\n".join(lines) + "\n"


def _listed(after: Sequence[StrEnum]) -> str:
    return ", ".join(after) or "(an end)"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE.name}\n")
