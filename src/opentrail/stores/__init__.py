"""Object stores: one contract (``base``), and the media behind it; ``opening`` finds one by its URL."""
