"""Recordings as the networks hear them, and voices that came without one."""
