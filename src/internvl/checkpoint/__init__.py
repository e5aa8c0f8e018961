"""Files <-> models: every released layout is read and written, nothing downloaded is executed."""
