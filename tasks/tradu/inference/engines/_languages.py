"""How multilingual models name languages: M2M-100 `__pt__`, NLLB-200 `por_Latn` (FLORES-200), MADLAD-400 `<2pt>`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from tradu.errors import ModelError
from tradu.inference.model import Model

_FLORES = """
    af:afr ak:aka am:amh ar:arb as:asm ay:ayr az:azj ba:bak be:bel bg:bul bm:bam bn:ben bo:bod bs:bos ca:cat cs:ces
    cy:cym da:dan de:deu dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est eu:eus fa:pes ff:fuv fi:fin fj:fij fo:fao
    fr:fra ga:gle gd:gla gl:glg gn:grn gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl
    it:ita ja:jpn jv:jav ka:kat ki:kik kk:kaz km:khm kn:kan ko:kor ku:kmr ky:kir lb:ltz lg:lug li:lim ln:lin lo:lao
    lt:lit lv:lvs mg:plt mi:mri mk:mkd ml:mal mn:khk mr:mar ms:zsm mt:mlt my:mya nb:nob ne:npi nl:nld nn:nno no:nob
    ny:nya oc:oci om:gaz or:ory pa:pan pl:pol ps:pbt pt:por qu:quy rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd
    sg:sag si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:als sr:srp ss:ssw st:sot su:sun sv:swe sw:swh ta:tam te:tel
    tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn tr:tur ts:tso tt:tat ug:uig uk:ukr ur:urd uz:uzn vi:vie wo:wol xh:xho
    yi:ydd yo:yor zh:zho zu:zul
"""
"""Of ISO 639-1 the one language of FLORES-200 that is meant (NLLB Team, "No Language Left Behind", 2022, table 1)."""
_SCRIPTS = {"zh": "Hans", "zh-TW": "Hant", "zh-HK": "Hant", "ar": "Arab", "ks": "Arab", "bn": "Beng"}
"""Which script is meant where FLORES-200 has several and the code names none."""


def _m2m100(code: str, _known: Iterable[str]) -> list[str]:
    return [f"__{code.partition('-')[0]}__"]


def _madlad(code: str, _known: Iterable[str]) -> list[str]:
    base, _, more = code.partition("-")
    return [f"<2{base}_{more}>", f"<2{base}>"] if more else [f"<2{base}>"]


def _nllb(code: str, known: Iterable[str]) -> list[str]:
    base, _, more = code.partition("-")
    letters = dict(pair.split(":") for pair in _FLORES.split()).get(base, base)
    named = [part for part in (more.rpartition("-")[2], _SCRIPTS.get(code), _SCRIPTS.get(base)) if part]
    return [f"{letters}_{script}" for script in named] + sorted(t for t in known if t.startswith(f"{letters}_"))


NAMES: dict[str, Callable[[str, Iterable[str]], list[str]]] = {"m2m100": _m2m100, "nllb": _nllb, "madlad": _madlad}
"""By the kind of model: the tokens that may name a language, best first."""
OPUS_MT = "opus-mt"
KINDS = (OPUS_MT, *NAMES)


def token_of(kind: str, code: str, known: Collection[str]) -> str:
    """The token that names a language (BCP 47) in a model of this kind whose vocabulary is `known`.

    Raises:
        ModelError: the model knows no such language.
    """
    found = next((token for token in NAMES[kind](code, known) if token in known), None)
    if found is None:
        raise ModelError(f"the model has no token for the language {code!r} (option source_token or target_token)")
    return found


def kind_of(model: Model) -> str:
    """Which architecture an entry says it is: its option `kind`.

    Raises:
        ModelError: it is none of KINDS.
    """
    kind = model.options.get("kind", "")
    if kind not in KINDS:
        raise ModelError(f"{model.name}: option kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return kind


def prefixes(model: Model, known: Collection[str]) -> tuple[list[str], list[str]]:
    """What stands before every source, and what every translation begins with; `known` is the model's vocabulary.

    Raises:
        ModelError: the model does not know both languages.
    """
    kind = kind_of(model)
    named = {"source": model.options.get("source_token"), "target": model.options.get("target_token")}
    codes = {"source": model.source, "target": model.target}

    def token(side: str) -> str:
        if (name := named[side]) is None:
            return token_of(kind, codes[side], known)
        if name not in known:
            raise ModelError(f"{model.name}: the model has no token {name!r}")
        return name

    if kind == OPUS_MT:  # multilingual ones want the target's name, as `>>por<<`
        return ([token("target")] if named["target"] else []), []
    if kind == "madlad":
        return [token("target")], []
    return [token("source")], [token("target")]
