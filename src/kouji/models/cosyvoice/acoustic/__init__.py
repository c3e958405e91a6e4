"""The flows of both versions: tokens of speech to mel."""
