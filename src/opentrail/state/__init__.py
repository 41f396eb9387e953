"""The control plane's state: accounts, identities, trails, in SQLite or PostgreSQL through SQLAlchemy Core."""
