"""Elastic pools of workers: what is observed, what follows from it, and who brings it about."""
