"""The versions of a document's bytes."""
