"""One conformance suite that every engine must pass; a new engine is done when it does."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

import pytest

from fixtures import seq2seq
from tradu.documents.language import detect
from tradu.errors import ModelError
from tradu.inference import clauses, codes, engines
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.inference.translate import Verdict, translate
from tradu.settings import Settings

INCLUDE = Path(__file__).resolve().parents[3] / "include"
MODELS = [
    "identity",
    "firefox-en-pt",
    "firefox-pt-en",
    "apertium-en-es",
    "apertium-es-en",
    "apertium-es-pt",
    "apertium-es-ca",
]
MADE_UP = [*(f"ctranslate2-{kind}" for kind in seq2seq.KINDS), "transformers-opus-mt", "transformers-nllb"]
"""Very small models with made-up weights: what they say means nothing."""
SAMPLES = {
    "en": [
        "The library opens at nine and closes at six.",
        "She bought three tickets for the concert on Monday.",
        "Shares of the bank fell 3.2% on Monday.",
        "The user \ue000 cannot open \ue001the red file\ue002 now…",
        "\ue000 is not a valid name for a \ue001.",
        "“Quoted” text — it’s here, isn’t it?",
        "This is the end of the sentence with an abbreviation, etc",
        "Stop",
    ],
    "es": [
        "La biblioteca abre a las nueve y cierra a las seis.",
        "El usuario \ue000 no puede abrir \ue001el archivo rojo\ue002 ahora…",
        "\ue000 no es un nombre válido para \ue001.",
        "¿Dónde está la estación de tren más cercana?",
        "Número de decimales con los que mostrar los valores p",
        "La expresión que debe adherirse al",
        "Alto",
    ],
    "pt": [
        "A biblioteca abre às nove e fecha às seis.",
        "O usuário \ue000 não pode abrir \ue001o arquivo vermelho\ue002 agora…",
        "\ue000 não é um nome válido para \ue001.",
        "Onde fica a estação de trem mais próxima?",
        "Pare",
    ],
}
HARD = [
    "",
    " ",
    "\n\t ",
    "\ue000",
    "\ue005\ue000 \ue001",
    "12.5",
    "...",
    "😀 👩‍👩‍👧 🇵🇹",
    "I am happy 😀 today",
    "a\x00b \x01 \x1b[0m c\x7f",
    "*word #tag @me ^x$ {y} [z] <w> ~ \\ / | `",
    "[[[ ]]] ^^^ $$$ \\\\\\",
    "日本語 and русский and العربية",
    "e\u0301te\u0301 \u200b\u202e\ufeff \ufdd0",
    "x" * 3_000,
    "no-break\u00a0space and soft\u00adhyphen",
    "<b>bold</b> &amp; C:\\path\\file.txt https://example.org/a?b=c#d",
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return load_registry(Settings(include=INCLUDE))


@pytest.fixture(
    scope="module",
    params=[pytest.param(m, marks=pytest.mark.apertium if m.startswith("apertium") else ()) for m in MODELS + MADE_UP],
)
def model(request: pytest.FixtureRequest, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param in MADE_UP:
        return made_up(*request.param.split("-", 1), tmp_path_factory.mktemp("models"))
    model = registry.model(request.param)
    status = registry.status(model)
    if not status.installed:
        pytest.skip(f"{model.name} is NOT TESTED: not on this machine; to add it: {status.how_to_add}")
    return model


def made_up(engine: str, kind: str, folder: Path) -> Model:
    if not seq2seq.there(engine):
        pytest.skip(f"{engine} is NOT TESTED: make test-engines")
    return seq2seq.entry(engine, seq2seq.ready(engine, kind, folder), kind=kind)


@pytest.fixture(scope="module")
def engine(model: Model) -> Iterator[Engine]:
    engine = engines.load(model)
    yield engine
    engine.close()


def samples(model: Model) -> list[str]:
    return SAMPLES.get(model.source, SAMPLES["en"])


def test_every_text_gets_one_answer_whatever_its_neighbours_and_order(model: Model, engine: Engine) -> None:
    texts = samples(model) * 2 + HARD
    together = engine.translate(texts)
    assert len(together) == len(texts)
    alone = [engine.translate([text])[0] for text in texts]
    assert alone == together
    order = list(range(len(texts)))
    random.Random(4).shuffle(order)
    shuffled = engine.translate([texts[i] for i in order])
    assert shuffled == [together[i] for i in order]
    assert engine.translate([]) == []


def test_codes_come_back_once_each_and_in_order(model: Model, engine: Engine) -> None:
    texts = samples(model) + HARD
    assert [codes.codes_of(t) for t in engine.translate(texts)] == [codes.codes_of(t) for t in texts]


def test_many_codes_and_codes_everywhere(model: Model, engine: Engine) -> None:
    rng = random.Random(7)
    texts = []
    for text in samples(model):
        words = [w for w in text.split() if not codes.codes_of(w)]
        for count in (1, 5, 30):
            places = sorted(rng.randrange(len(words) + 1) for _ in range(count))
            mixed = list(words)
            for number, place in reversed(list(enumerate(places))):
                mixed.insert(place, chr(0xE000 + number) + rng.choice(["", "\u00b7"]))
            texts.append(rng.choice([" ", "  "]).join(mixed))
    for text, translated in zip(texts, engine.translate(texts), strict=True):
        assert codes.codes_of(translated) == codes.codes_of(text)


def test_texts_without_words_come_back_as_they_are(engine: Engine) -> None:
    texts = ["", " ", "\n\t ", "\ue000", "\ue005\ue000 \ue001", "12.5", "...", "😀", " 7 \ue001 "]
    assert engine.translate(texts) == texts


def test_space_at_the_edges_is_kept(model: Model, engine: Engine) -> None:
    text = samples(model)[0]
    (translated,) = engine.translate([text])
    assert engine.translate([f"  {text}\n", f"\t{text} "]) == [f"  {translated}\n", f"\t{translated} "]


def test_no_marks_of_unknown_words(model: Model, engine: Engine) -> None:
    if model.licence == seq2seq.MADE_UP:
        pytest.skip("made-up weights copy no words")
    for translated in engine.translate([f"Zorgblat {samples(model)[0]} frumious bandersnatch"]):
        assert "bandersnatch" in translated.lower()
        assert not set("*#@\ufdd0") & set(translated)


def test_very_long_text_is_not_cut(model: Model, engine: Engine) -> None:
    sentence = samples(model)[0]
    for text in (" ".join([sentence] * 60), " and ".join([sentence.rstrip(".")] * 25)):
        (translated,) = engine.translate([text])
        assert len(translated) > 0.7 * len(text)


def test_symbols_and_foreign_words_survive(model: Model, engine: Engine) -> None:
    signs = ["😀", "→", "~", "™", "²", "日本語", "•", "#"]
    if model.engine == "identity":
        pytest.skip("identity changes nothing")
    if model.licence == seq2seq.MADE_UP:
        signs = [sign for sign in signs if not sign.isascii()]  # the others are in its vocabulary
    sentence = samples(model)[0].rstrip(".")
    made = engine.translate([f"{sentence} {sign} {sentence}." for sign in signs])
    assert [sign for sign, translated in zip(signs, made, strict=True) if sign not in translated] == []


def test_two_threads_each_with_its_own_engine_agree(model: Model, engine: Engine) -> None:
    texts, pool = samples(model), EnginePool()
    results: list[list[str]] = []
    both_are_done = threading.Barrier(2, timeout=60)

    def work() -> None:
        for _ in range(2):
            results.append(pool.get(model).translate(texts))
        both_are_done.wait()  # a shared engine is closed for both
        pool.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [engine.translate(texts)] * 4


def test_closing_twice_is_harmless(model: Model) -> None:
    engine = engines.load(model)
    engine.translate(["OK"])
    engine.close()
    engine.close()


def test_the_translation_is_in_the_target_language(model: Model, engine: Engine) -> None:
    if model.engine == "identity" or model.licence == seq2seq.MADE_UP:
        pytest.skip("identity has no target language, and made-up weights know none")
    translated = " ".join(engine.translate([t for t in samples(model) if not codes.codes_of(t)]))
    assert detect(translated).language == model.target


@pytest.mark.apertium
def test_a_pipeline_that_dies_is_an_error_and_the_next_call_starts_another(registry: Registry) -> None:
    model = registry.model("apertium-en-es")
    if not registry.status(model).installed:
        pytest.skip(f"Apertium is NOT TESTED: {registry.status(model).how_to_add}")
    from tradu.inference.engines.apertium import ApertiumEngine, load

    engine: ApertiumEngine = load(model)
    before = engine.translate(["The house is red."])
    assert engine._pipeline is not None
    engine._pipeline._processes[3].kill()
    engine._pipeline._processes[3].wait()
    assert engine.translate(["The house is red."]) == before
    engine._commands = [*engine._commands, ["false"]]
    engine.close()
    with pytest.raises(ModelError, match="apertium-en-es: the pipeline"):
        engine.translate(["The house is red."])
    engine.close()


@pytest.mark.apertium
def test_unknown_words_are_reported_without_marks(registry: Registry) -> None:
    model = registry.model("apertium-en-es")
    if not registry.status(model).installed:
        pytest.skip(f"Apertium is NOT TESTED: {registry.status(model).how_to_add}")
    pool = EnginePool()
    (outcome,) = translate(["The zorgblat is red."], [(model,)], lambda s, m, t: Verdict(()), pool)
    pool.close()
    assert outcome.unknown == ("zorgblat",)
    assert outcome.text == "El zorgblat es rojo."


def test_portuguese_of_real_english_reads_as_portuguese(registry: Registry) -> None:
    text = " ".join(topics.topics["class"].split())
    sentences = [s.strip() for s in clauses.sentences(text, "en") if 40 < len(s) < 250][:25]
    model = registry.model("firefox-en-pt")
    pool = EnginePool()
    outcomes = translate(sentences, [(model,)], lambda s, m, t: Verdict(()), pool)
    pool.close()
    languages = [detect(o.text).language for o in outcomes]
    assert languages.count("pt") >= 0.9 * len(sentences)
    joined = " ".join(o.text for o in outcomes).lower()
    assert {"classe", "nome", "que", "uma", "é"} <= set(joined.replace(",", " ").replace(".", " ").split())
