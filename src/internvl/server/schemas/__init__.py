"""What comes in and goes out over HTTP: pydantic models, one file per family of endpoints."""
