"""Verifying a trail wherever it lies: finding its chains, fetching, checking on all cores, reporting what was found."""
