"""The pilot: representative days through the whole path, and what they say about the rest."""
