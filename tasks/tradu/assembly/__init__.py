"""Assemble and publish: documents rebuilt in their format and order, then let out with a manifest."""
