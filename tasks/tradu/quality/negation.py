"""Words of negation by language: whether a translation says "not" where its source does.

A word list says nothing about scope, and languages negate where others don't ("without", "unless", "avoid"); so it is
evidence among other evidence, not a rule. Listed are the negative particles, pronouns, adverbs and conjunctions of each
language's closed classes (what Universal Dependencies call `Polarity=Neg` and `PronType=Neg`), and "without".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from tradu.documents import language as lang

_WORDS = {
    "en": "not cannot no never none nothing nobody nowhere neither nor without unable",
    "pt": "não nunca jamais nenhum nenhuma nenhuns nenhumas nada ninguém nem sem",
    "es": "no nunca jamás ningún ninguno ninguna nada nadie ni tampoco sin",
    "fr": "ne n' non jamais aucun aucune rien personne ni sans pas",
    "it": "non no mai nessun nessuno nessuna niente nulla né neanche nemmeno senza",
    "de": "nicht kein keine keinen keinem keiner keines nie niemals nichts niemand nirgends weder noch ohne nein",
    "ca": "no mai cap res ningú ni tampoc sense",
    "nl": "niet geen nooit niets niemand nergens noch zonder nee",
    "pl": "nie nigdy żaden żadna żadne żadnego żadnej nic nikt nigdzie ani bez",
    "gl": "non nunca xamais ningún ningunha nada ninguén nin sen",
    "ro": "nu niciodată niciun nicio nimic nimeni nici fără",
    "sv": "inte ej icke ingen inget inga aldrig ingenting varken utan",
    "da": "ikke ej ingen intet aldrig hverken uden",
    "no": "ikke ei ingen intet aldri verken uten",
    "cs": "ne není nejsou nikdy žádný žádná žádné nic nikdo ani bez",
    "ru": "не нет никогда никакой ничего никто ни нельзя без",
    "uk": "не немає ніколи жоден нічого ніхто ні без",
}
"""Several in a clause may be one negation (não ... nenhum; ne ... pas), so presence is compared, not number."""
_MORE = {
    "en": r"\w+n['’]t\b",
    "fr": r"\bn['’](?=\w)",
    "cs": r"\bne(?:ní|lze|má|mají|můž\w+|byl\w*|jsou|smí\w*|umí\w*)\b",
}


@lru_cache(maxsize=64)
def _pattern(language: str) -> re.Pattern[str] | None:
    code = lang.base(language)
    if code not in _WORDS:
        return None
    plain = "|".join(map(re.escape, _WORDS[code].split()))
    more = f"|{_MORE[code]}" if code in _MORE else ""
    return re.compile(rf"\b(?:{plain})\b{more}", re.IGNORECASE)


def words(text: str, language: str) -> Iterator[re.Match[str]]:
    """The words of negation in a text; none where the language's are not known."""
    pattern = _pattern(language)
    return pattern.finditer(text) if pattern else iter(())


def difference(source: str, translation: str, source_language: str, target_language: str) -> int:
    """+1 where only the source negates, -1 where only the translation does, else 0; 0 for languages not known."""
    ours, theirs = _pattern(source_language), _pattern(target_language)
    if ours is None or theirs is None:
        return 0
    return int(ours.search(source) is not None) - int(theirs.search(translation) is not None)
