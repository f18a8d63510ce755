"""Ingest: finds the documents a job names, copies their bytes into the store once, and registers them."""
