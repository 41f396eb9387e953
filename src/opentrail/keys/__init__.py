"""Signing keys: who signs digests, and with what."""
