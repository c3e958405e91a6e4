"""Sound classification: log-mel, a small network over it, windows of a recording."""

SHIPPED_NAME = "esc10"  # of the one that comes with the package
PHONES_NAME = "phones"  # of the start for classifiers of words
