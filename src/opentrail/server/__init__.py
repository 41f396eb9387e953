"""The endpoint: HTTP in front, services behind, and the composition root."""
