"""GPT-SoVITS v1, v2, v2Pro and v2ProPlus: the checkpoints people already have."""
