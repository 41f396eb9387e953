"""Opentrail: the open, self-hosted CloudTrail."""
