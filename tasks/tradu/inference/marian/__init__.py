"""Mozilla's Firefox Translations models (Marian, int8) in full batches, on a kernel of our own."""

from tradu.inference.marian.pieces import pieces_that_fit
from tradu.inference.marian.translator import Files, Hypothesis, Translation, Translator

__all__ = ["Files", "Hypothesis", "Translation", "Translator", "pieces_that_fit"]
