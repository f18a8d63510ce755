"""Makes input for load runs: many small documents, or one large CSV, from real English sentences."""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

_SENTENCE = re.compile(r"[A-Z][a-z]+(?: [a-z,]+){5,25}\.")


def sentences() -> list[str]:
    """Distinct sentences of Python's own documentation, without markup."""
    text = " ".join(" ".join(topics[name].split()) for name in sorted(topics))
    return sorted(set(_SENTENCE.findall(text)))


def small_documents(folder: Path, count: int, seed: int = 1) -> None:
    """`count` Markdown documents of some sentences each, in a tree of folders."""
    pool, chance = sentences(), random.Random(seed)
    for number in range(count):
        path = folder / f"{number // 100:02d}" / f"note-{number:04d}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "\n\n".join(" ".join(chance.sample(pool, 3)) for _ in range(2))
        path.write_text(f"# Note {number}\n\n{body}\n\nReference: {number}.\n")


def rows(size_bytes: int, seed: int = 1) -> Iterator[tuple[str, ...]]:
    """Rows of a product list: descriptions from a pool, with repeats as catalogues have, and columns to leave."""
    pool, chance, written, number = sentences(), random.Random(seed), 0, 0
    while written < size_bytes:
        number += 1
        details = "".join(chance.choices("0123456789abcdef", k=480))
        row = (f"P-{number:07d}", chance.choice(pool), f"{chance.random() * 1000:.2f}", details)
        written += sum(map(len, row)) + 4
        yield row


def large_csv(path: Path, size_bytes: int) -> None:
    """A CSV of about `size_bytes` with a column `description` to translate."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "description", "price", "digest"))
        writer.writerows(rows(size_bytes))


def main() -> None:
    """`python tests/load/make_documents.py FOLDER --documents 1000` or `--csv-mb 200`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=0)
    parser.add_argument("--csv-mb", type=int, default=0)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.documents:
        small_documents(asked.folder, asked.documents)
    if asked.csv_mb:
        large_csv(asked.folder / f"products-{asked.csv_mb}.csv", asked.csv_mb * 1_000_000)


if __name__ == "__main__":
    main()
