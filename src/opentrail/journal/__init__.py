"""The journal: an ordered, durable list of entries, written before a call is answered."""
