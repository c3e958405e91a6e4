"""Many lines spoken in the background: read from a file, kept, paused, resumed, never lost.

`centre.JobCentre` is what the command line and the server hold. Knows files of text, the api and
a database; knows nothing of HTTP, terminals and models.
"""
