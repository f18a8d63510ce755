"""Inference: engines, the registry of models, routes between languages, and the translation of a batch."""
