"""Hugging Face Transformers (OPUS-MT, M2M-100, NLLB-200, MADLAD-400): float16 on a GPU, float32 on a processor.

`weights` is a folder as `save_pretrained` leaves it, with safetensors: pickled weights and code of a model's own are
never run, and nothing is fetched. Options: `kind` (`opus-mt`, `m2m100`, `nllb`, `madlad`), `beam`, `threads`, `device`,
`source_token`, `target_token`. It runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from tradu.errors import ModelError, ResourceError
from tradu.inference import weights
from tradu.inference.engines._child import Child
from tradu.inference.engines._languages import kind_of, prefixes
from tradu.inference.engines._neural import NeuralEngine, Runs
from tradu.inference.engines._sequences import LONGEST_TARGET, Batched, Row
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.model import Model, Status

MARK = "-hf1"
"""Ends versions, with what else changes the output; the number is raised when this module's output changes."""
BATCH_TOKENS = 1_024
"""Source tokens at once, where the entry has no `max_batch_tokens`."""
SCORED_AT_ONCE = 8
"""Sources: the probabilities of all words of a large vocabulary for each place take much room."""


class Network:
    """A loaded model and its tokenizer."""

    shareable = False

    def __init__(self, model: Model) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        folder, safe = weights.fetch(model), {"local_files_only": True, "trust_remote_code": False}
        device = model.options.get("device", "cpu")
        if device == "cpu":
            torch.set_num_threads(int(model.options.get("threads", "1")))
        kind = torch.float32 if device == "cpu" else torch.float16
        self._tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        with _memory():
            network = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=kind, use_safetensors=True, **safe)
            self._network = network.to(device).eval()
        known = frozenset(self._tokenizer.get_vocab()) | frozenset(getattr(self._tokenizer, "lang_token_to_id", ()))
        self._before, self._prefix = prefixes(model, known)
        self._beam = int(model.options.get("beam", "2"))
        self._never = [[self._tokenizer.pad_token_id]] if kind_of(model) == "opus-mt" else None

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """The tokens of each text, with those that name a language and end it."""
        return [[*self._before, *self._tokenizer.tokenize(text), self._tokenizer.eos_token] for text in texts]

    def translate(self, rows: Sequence[Row], limit: int) -> list[tuple[str, Sequence[float]]]:
        """The best translation of each row, with the log-probabilities of its tokens."""
        import torch

        forced = self._ids(self._prefix)[0] if self._prefix else None
        with _memory(), torch.inference_mode():
            made = self._network.generate(
                **self._padded([self._ids(row) for row in rows]),
                num_beams=self._beam,
                do_sample=False,
                max_length=None,
                max_new_tokens=limit,
                forced_bos_token_id=forced,
                bad_words_ids=self._never,
            ).tolist()
        begin = 1 + len(self._prefix)
        end, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        ids = [[i for i in each[begin:] if i not in (end, pad)] for each in made]
        unknown = self._tokenizer.unk_token_id
        known = [[i for i in each if i != unknown] for each in ids]
        texts = [str(self._tokenizer.decode(each, skip_special_tokens=True)).strip() for each in known]
        return list(zip(texts, self._said(rows, ids), strict=True))

    def score(self, rows: Sequence[Row], translations: Sequence[str]) -> list[Sequence[float]]:
        """The log-probabilities of the tokens of given translations, their ends included."""
        tokens = [self._tokenizer.tokenize(text) for text in translations]
        return self._said(rows, [self._ids(each) for each in tokens])

    def _said(self, rows: Sequence[Row], ids: Sequence[list[int]]) -> list[Sequence[float]]:
        import torch

        fit = [i for i, each in enumerate(ids) if 0 < len(each) <= LONGEST_TARGET]
        said: dict[int, Sequence[float]] = {}
        begun = [self._network.config.decoder_start_token_id, *self._ids(self._prefix)]
        for at in range(0, len(fit), SCORED_AT_ONCE):
            chosen = fit[at : at + SCORED_AT_ONCE]
            whole = [[*ids[i], self._tokenizer.eos_token_id] for i in chosen]
            written = self._padded([[*begun, *each[:-1]] for each in whole])
            read = self._padded([self._ids(rows[i]) for i in chosen])
            with _memory(), torch.inference_mode():
                logits = self._network(
                    **read,
                    decoder_input_ids=written["input_ids"],
                    decoder_attention_mask=written["attention_mask"],
                ).logits[:, len(begun) - 1 :]
                if self._never:
                    logits[..., self._never[0]] = -torch.inf
                every = torch.log_softmax(logits.float(), dim=-1).cpu()
            for place, i in enumerate(chosen):
                words = torch.tensor(whole[place])
                said[i] = every[place, : len(words)].gather(1, words[:, None])[:, 0].tolist()
        return [said.get(i, ()) for i in range(len(ids))]

    def _ids(self, tokens: Sequence[str]) -> list[int]:
        return list(self._tokenizer.convert_tokens_to_ids(list(tokens))) if tokens else []

    def _padded(self, rows: Sequence[Sequence[int]]):  # type: ignore[no-untyped-def]  # noqa: ANN202
        """Tensors of the rows, filled up on the right."""
        import torch

        longest, pad = max(map(len, rows)), self._tokenizer.pad_token_id
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids.to(self._network.device), "attention_mask": mask.to(self._network.device)}


@contextmanager
def _memory() -> Iterator[None]:
    """Says which failures are for want of memory."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(f"Transformers: {error}") from error
    except RuntimeError as error:
        if "memory" in str(error):  # of the processor: "can't allocate memory"
            raise ResourceError(f"Transformers: {error}") from error
        raise


def runs(model: Model) -> Runs:
    """The model in this process."""
    return Batched(Network(model), model.max_batch_tokens or BATCH_TOKENS, model.device != "cpu")


def load(model: Model) -> NeuralEngine:
    """Load the model, in a process of its own.

    Raises:
        ModelError: it is missing or broken, or knows not both languages.
        ResourceError: there is not enough memory.
    """
    if not (there := status(model)).installed:
        raise ModelError(f"{model.name} is not installed: {there.how_to_add}")
    return NeuralEngine(model.source, _alphabet(model), Child(model, runs))


def status(model: Model) -> Status:
    """Whether Transformers and the weights are here; the version is a digest of them, and of what changes output."""
    made_by = f"{MARK}-{kind_of(model)}-{model.device}-b{model.options.get('beam', '2')}"
    if find_spec("transformers") is None or find_spec("torch") is None:
        return Status(False, "", "pip install 'torch>=2.9' 'transformers>=5'")
    if not model.weights:
        return Status(False, "", "say where the model lies: `weights` of its entry")
    seen = weights.look(model)
    return Status(seen.there, seen.digest and seen.digest + made_by, seen.how_to_add)


def _alphabet(model: Model) -> frozenset[str]:
    """The characters that the model's vocabulary can spell."""
    folder = weights.fetch(model)
    for name in ("source.spm", "sentencepiece.bpe.model", "spiece.model"):
        if (file := folder / name).is_file():
            try:
                return alphabet(file.read_bytes())
            except ValueError as error:
                raise ModelError(f"{model.name}: {file}: {error}") from error
    raise ModelError(f"{model.name}: {folder} has no SentencePiece vocabulary")
