"""One file per API dialect; each turns its own words into calls of `kouji.serve.service`."""
