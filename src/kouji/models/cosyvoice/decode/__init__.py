"""The language model: ids of text to tokens of speech."""
