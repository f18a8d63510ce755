"""English to translate: any number of different, plain sentences, the same ones every time."""

from __future__ import annotations

from itertools import islice, product
from random import Random

OWNERS = (
    *("harbour", "museum", "hospital", "library", "airport", "factory", "theatre", "school", "bank", "embassy"),
    *("castle", "hotel", "farm", "station", "market", "church", "university", "prison", "laundry", "bakery"),
)
THINGS = (
    "roof",
    "entrance",
    "archive",
    "kitchen",
    "garden",
    "heating",
    "staircase",
    "workshop",
    "laboratory",
    "office",
)
EVENTS = (
    "was repaired during the winter",
    "was closed for several weeks",
    "was painted again by the students",
    "was inspected by two engineers",
    "was moved to another building",
    "was damaged by the heavy rain",
    "was opened to all visitors",
    "was sold to a private company",
)
REASONS = (
    "because the old pipes were broken",
    "although nobody had asked for it",
    "after the council had agreed to the plan",
    "before the new director arrived from the capital",
    "so that the work could be finished in time",
    "while the neighbours complained about the noise",
    "since there was not enough money for a new one",
    "when the contract with the builders ended",
)
TIMES = ("", " in the spring", " two years ago", " after the election", " before the holidays")
PARAGRAPH = 4
"""Sentences in one."""


def sentences(count: int, salt: str) -> list[str]:
    """That many sentences, no two the same; another salt gives another selection in another order."""
    every = list(product(OWNERS, THINGS, EVENTS, TIMES, REASONS))
    Random(salt).shuffle(every)
    if count > len(every):
        raise ValueError(f"there are only {len(every)} sentences")
    return [
        f"The {thing} of the {owner} {event}{time} {reason}." for owner, thing, event, time, reason in every[:count]
    ]


def documents(files: int, each: int, salt: str) -> dict[str, str]:
    """Text files of `each` sentences, by name."""
    stream = iter(sentences(files * each, salt))
    found = {}
    for number in range(files):
        own = list(islice(stream, each))
        paragraphs = [" ".join(own[start : start + PARAGRAPH]) for start in range(0, each, PARAGRAPH)]
        found[f"report-{number:03d}.txt"] = "\n\n".join(paragraphs) + "\n"
    return found


LONG = documents(files=6, each=2_500, salt="long")
"""What is drilled in `infer`: it lasts longest."""
MANY = documents(files=90, each=4, salt="many")
"""What is drilled in the other stages: many files, so that each of them lasts long enough to be caught in the act."""
