"""Numbers, ordinals and months as words, so that "two" and 2, "segundo" and 2nd, "maio" and 5 count as equal."""

from __future__ import annotations

import re
import unicodedata

# English; Portuguese; Spanish; Catalan; French; Italian; German. Feminine and short forms as far as they are common.
_WORDS = {
    0: "zero no none nenhum nenhuma cero ningún ninguna cap zéro aucun aucune nessuno null kein keine",
    1: "one a an single once first um uma único única uma primeiro primeira un una uno solo sola primer primero primera"
    " primer primera une unique premier première primo prima ein eine einen einem einer eins erste ersten erster",
    2: "two twice second both pair double half dois duas segundo segunda ambos ambas duplo metade meio dos par doble"
    " mitad medio dues segon segona deux deuxième seconde moitié due secondo seconda zwei zweite zweiten beide hälfte",
    3: "three third triple três terceiro terceira triplo terço tres tercer tercero tercera tercio terç trois troisième"
    " tiers tre terzo terza drei dritte dritten drittel",
    4: "four fourth quarter quatro quarto quarta cuatro cuarto cuarta quatre quart quarta quatrième quattro vier vierte"
    " viertel",
    5: "five fifth cinco quinto quinta cinc cinquè cinq cinquième cinque fünf fünfte",
    6: "six sixth seis sexto sexta sis sisè sixième sei sesto sechs sechste",
    7: "seven seventh sete sétimo sétima siete séptimo séptima set setè sept septième sette settimo sieben siebte",
    8: "eight eighth oito oitavo oitava ocho octavo octava vuit vuitè huit huitième otto ottavo acht achte",
    9: "nine ninth nove nono nona nueve noveno novena nou novè neuf neuvième nono neun neunte",
    10: "ten tenth dez décimo décima diez deu desè dix dixième dieci decimo zehn zehnte",
    11: "eleven eleventh onze once undécimo undici elf elfte",
    12: "twelve twelfth dozen doze dúzia doce docena dotze dotzena douze douzaine dodici dozzina zwölf dutzend",
    13: "thirteen treze trece tretze treize tredici dreizehn",
    14: "fourteen catorze quatorze catorce quattordici vierzehn",
    15: "fifteen quinze quince quindici fünfzehn",
    16: "sixteen dezesseis dezasseis dieciséis setze seize sedici sechzehn",
    17: "seventeen dezessete dezassete diecisiete disset diciassette siebzehn",
    18: "eighteen dezoito dieciocho divuit diciotto achtzehn",
    19: "nineteen dezenove dezanove diecinueve dinou diciannove neunzehn",
    20: "twenty twentieth vinte veinte vint vingt venti zwanzig",
    30: "thirty trinta treinta trenta trente dreißig",
    40: "forty quarenta cuarenta quaranta quarante vierzig",
    50: "fifty cinquenta cincuenta cinquanta cinquante fünfzig",
    60: "sixty sessenta sesenta seixanta soixante sessanta sechzig",
    70: "seventy setenta setanta soixante-dix settanta siebzig",
    80: "eighty oitenta ochenta vuitanta quatre-vingts ottanta achtzig",
    90: "ninety noventa noranta quatre-vingt-dix novanta neunzig",
    100: "hundred hundredth cem cento centena cien ciento cent centaine hundert century século",
    1000: "thousand thousandth mil milhar millar miler mille millier mila tausend",
    1_000_000: "million milhão milhões millón millones milió milions milione milioni millionen",
}
_MONTHS = {
    1: "january jan janeiro enero ene gener janvier janv gennaio gen januar",
    2: "february feb fevereiro fev febrero febrer février févr febbraio februar",
    3: "march mar março marzo març mars märz",
    4: "april apr abril abr avril avr aprile",
    5: "may maio mai mayo maig maggio mag",
    6: "june jun junho junio juny juin giugno giu juni",
    7: "july jul julho julio juliol juillet juil luglio lug juli",
    8: "august aug agosto ago agost août",
    9: "september sept sep setembro set septiembre setembre septembre settembre",
    10: "october oct outubro out octubre octobre ottobre ott oktober okt",
    11: "november nov novembro noviembre novembre",
    12: "december dec dezembro dez diciembre dic desembre des décembre déc dicembre dezember",
}
_ROMAN = re.compile(r"\b[IVXLCDM]+\b")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_CHINESE = re.compile("[〇零一二三四五六七八九十百千万億亿]+")
_FORMS = {value: re.compile(rf"\b(?:{'|'.join(words.split())})\b") for value, words in _WORDS.items()}

_MONTH_FORMS = {value: re.compile(rf"\b(?:{'|'.join(words.split())})\b") for value, words in _MONTHS.items()}


def expressed(text: str, value: int) -> bool:
    """Whether the text says the value without digits: in words, as a month, a Roman or a Chinese numeral."""
    folded = text.casefold()
    if _in_words(folded, value):
        return True
    if value in _MONTH_FORMS and _MONTH_FORMS[value].search(folded):
        return True
    if any(len(n) > 1 or unicodedata.numeric(n) == value for n in _CHINESE.findall(text)):
        return True
    return any(_roman(n) == value for n in _ROMAN.findall(text))


def _roman(numeral: str) -> int:
    values = [_ROMAN_VALUES[c] for c in numeral]
    return sum(-v if v < max(values[i + 1 :], default=0) else v for i, v in enumerate(values))


def _in_words(text: str, value: int) -> bool:
    """As one word (2), as tens and units (21), or as a count of hundreds, thousands or millions."""
    form = _FORMS.get(value)
    if form is not None:
        return bool(form.search(text))
    if 20 < value < 100:
        return _in_words(text, value - value % 10) and _in_words(text, value % 10)
    for scale in (1_000_000, 1000, 100):
        if value > scale and value % scale == 0:
            return _in_words(text, scale) and (_in_words(text, value // scale) or str(value // scale) in text)
    return False
