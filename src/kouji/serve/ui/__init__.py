"""The studio: Kouji in a browser, at `/` of the server; `mount.mount_studio` puts it there."""
