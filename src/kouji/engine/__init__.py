"""Many requests, one device: scheduling, KV slots, sampling, batches, streams.

Start at `engine.Engine`; `docs/engine.md` tells how a request lives.
"""
