"""Units and currencies beside numbers, by what they mean: $5, US$ 5, 5 USD and 5 dólares are dollars in any language.

Numbers are compared elsewhere (numbers.py); this finds the right number with the wrong unit. A unit that only went
missing is no fault: languages leave units out, and a conversion changes the number too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FORMS = {
    "currency": (
        "$ us$ usd dollar dollars dólar dólares dollaro dollari dòlar dòlars доллар доллара долларов 美元 ドル",
        "€ eur euro euros евро 欧元 ユーロ",
        "£ gbp pound pounds libra libras livre livres sterlina sterline pfund фунт фунтов 英镑 ポンド",
        "r$ brl real reais reales",
        "¥ jpy yen iene ienes yenes иен 日元 円",
        "cny rmb yuan yuans юань юаней 元 人民币",
        "₽ rub rouble roubles ruble rubles rublo rublos rubel рубль рубля рублей",
        "₹ inr rupee rupees rupia rupias roupie roupies rupie rupien рупий",
    ),
    "share": ("% percent pct percento prozent pourcent процент процента процентов", "‰"),
    "temperature": ("°c celsius", "°f fahrenheit"),
    "length": (
        "mm",
        "cm",
        "m metre metres meter meters metro metros mètre mètres metri м",
        "km kilometre kilometres kilometer kilometers quilômetro quilômetros quilómetro quilómetros kilómetro"
        " kilómetros quilòmetre quilòmetres kilomètre kilomètres chilometro chilometri км 公里 キロ",
        "mi mile miles milha milhas milla millas miglio miglia meile meilen миля мили миль 英里",
        "inch inches polegada polegadas pulgada pulgadas pouce pouces pollice pollici zoll дюйм дюймов",
        "ft foot feet pé pés pie pies pied pieds piede piedi fuß фут футов",
    ),
    "mass": (
        "mg мг",
        "g gram grams grama gramas gramo gramos gramme grammes grammo grammi gramm г",
        "kg kilo kilos kilogram kilograms quilo quilos quilograma quilogramas kilogramo kilogramos кг 公斤",
        "t tonne tonnes tons tonelada toneladas tona tones tonnellata tonnellate tonnen тонна тонн",
        "lb lbs",
    ),
    "data": (
        "byte bytes octet octets байт",
        "kb kib кб",
        "mb mib мб",
        "gb gib гб",
        "tb tib тб",
    ),
    "time": (
        "s sec second seconds segundo segundos segon segons seconde secondes secondo secondi sekunde sekunden секунд",
        "min minute minutes minuto minutos minut minuts minuti minuten минут",
        "h hr hrs hour hours hora horas hores heure heures ore stunde stunden час часа часов 小时 時間",
        "day days dia dias día días dies jour jours giorno giorni tag tage tagen день дня дней 天",
        "week weeks semana semanas setmana setmanes semaine semaines settimana settimane woche wochen недели недель 周",
        "month months mês meses mes mesos mois mese mesi monat monate monaten месяц месяца месяцев 个月",
        "year years ano anos año años any anys an ans année années anno anni jahr jahre jahren год года лет 年",
    ),
}
"""What is measured, and the forms of each of its units; no form stands in two measures."""
_MEANING = {
    form: (measure, number)
    for measure, units in _FORMS.items()
    for number, forms in enumerate(units)
    for form in forms.split()
}
_DIGIT = re.compile(r"\d")
_CODES = "usd eur gbp brl jpy cny rub inr"


def _either(forms: Iterable[str]) -> str:
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


_SPACED = [form for form in _MEANING if ord(form[-1]) < 0x2E80]
_UNSPACED = [form for form in _MEANING if ord(form[-1]) >= 0x2E80]
_SIGNS = [form for form in _SPACED if not form[-1].isalnum()]
_BEFORE = re.compile(rf"(?<![^\W\d_])({_either([*_SIGNS, *_CODES.split()])})\s?(?=\d)", re.IGNORECASE)
_AFTER = re.compile(rf"(?<=\d)\s?(?:({_either(_SPACED)})(?![^\W\d_])|({_either(_UNSPACED)}))", re.IGNORECASE)


def _found(text: str) -> dict[str, set[int]]:
    """The units beside numbers, by what is measured."""
    found: dict[str, set[int]] = {}
    for match in (*_BEFORE.finditer(text), *_AFTER.finditer(text)):
        measure, unit = _MEANING[(match[1] or match[2]).casefold()]
        found.setdefault(measure, set()).add(unit)
    return found


def changed(source: str, translation: str) -> int:
    """In how many measures the translation has other units than its source: euros for dollars, MB for GB."""
    if not (_DIGIT.search(source) and _DIGIT.search(translation)):
        return 0
    ours, theirs = _found(source), _found(translation)
    return sum(ours[m].isdisjoint(theirs[m]) for m in ours.keys() & theirs.keys())
