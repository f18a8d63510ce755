"""Language codes: what people write (`pt`, `pt_BR`, `pt-BR`, `por`) and which of them a model serves."""

from __future__ import annotations

import re

from tradu.errors import RequestError

ANY = "*"
"""In a model's pair: every language."""

_CODE = re.compile(r"[a-z]{2,3}(-[A-Z]{2}|-[0-9]{3})?(-[A-Z][a-z]{3})?")
_TWO_LETTERS = {"cat": "ca", "deu": "de", "eng": "en", "fra": "fr", "ita": "it", "por": "pt", "spa": "es"}


def normalise(code: str) -> str:
    """The BCP 47 spelling of a language code: `pt_br` and `por-BR` are `pt-BR`.

    Raises:
        RequestError: this is not a language code.
    """
    language, *rest = re.split(r"[-_]", code.strip())
    language = language.lower()
    parts = [_TWO_LETTERS.get(language, language)]
    parts += [part.title() if len(part) == 4 else part.upper() for part in rest]
    normal = "-".join(parts)
    if not _CODE.fullmatch(normal):
        raise RequestError(
            f"{code!r} is not a language code: write two or three letters, with or without a region (pt, pt-BR)"
        )
    return normal


def base(code: str) -> str:
    """The language without its region or script."""
    return code.split("-", 1)[0]


def distance(offered: str, wanted: str) -> int | None:
    """How far a model's language is from the wanted one, 0 the nearest; None: it doesn't serve it.

    A model without a region serves every region, and one with a region serves whoever names none; Brazilian Portuguese
    doesn't serve somebody who asked for European Portuguese.
    """
    if offered == wanted:
        return 0
    if base(offered) != base(wanted):
        return None
    if offered == base(offered):
        return 1
    return 2 if wanted == base(wanted) else None
