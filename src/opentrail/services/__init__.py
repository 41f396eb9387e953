"""The services: each a table of operations (``base``); which ones there are: ``server.service_table``."""
