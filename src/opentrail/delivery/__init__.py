"""Delivery: from the journal to log files and digests in buckets, exactly once."""
