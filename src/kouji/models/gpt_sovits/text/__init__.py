"""Text to GPT-SoVITS symbols: one module or family of modules per language."""
