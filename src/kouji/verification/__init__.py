"""Verified consent: a sentence is shown, a person reads it, words and speaker are checked.

`consent.new_challenge` and `consent.verify_challenge` are what command line and server call.
"""
