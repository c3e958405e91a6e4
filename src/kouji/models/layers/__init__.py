"""Blocks that more than one model family uses; each knows tensors only."""
