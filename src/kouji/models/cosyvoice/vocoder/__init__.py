"""The vocoders of both versions: mel to samples."""
