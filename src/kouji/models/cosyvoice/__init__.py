"""CosyVoice 3 and 2: their checkpoints, as the official code computes them, in the engine."""
