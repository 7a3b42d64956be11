"""The database: models' base, sessions with their tenant, migrations."""
