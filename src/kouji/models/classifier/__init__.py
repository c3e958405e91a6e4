"""Sound classification: log-mel, a small network over it, windows of a recording."""
