"""Words into phones: one module per language, nothing about sentences or numbers."""
