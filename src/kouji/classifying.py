"""Sounds to classes: the one call that library, command line and server share."""
