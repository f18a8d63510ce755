"""Checks of sources and translations, and the gates between the stages."""
