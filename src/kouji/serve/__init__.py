"""The server: every dialect of HTTP clients already speak, over one core call (`service`)."""
