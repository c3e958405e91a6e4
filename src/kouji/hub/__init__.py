"""Checkpoints from Hugging Face or ModelScope: pinned, checked, resumed, whole or not there.

`catalogue` says what there is, `sources` where a hub keeps it, `download` fetches one file,
`pull` a whole model into `KOUJI_HOME/models/<name>`. Nothing here opens what it fetched.
"""
