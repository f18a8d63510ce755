"""Document formats: which bytes of a document are text, and how a translation is put in their place."""
