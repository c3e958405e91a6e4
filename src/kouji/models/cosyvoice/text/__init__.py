"""What is to be spoken, as the ids the language model reads."""
