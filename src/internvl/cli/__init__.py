"""The command line: `main.py` and one file per command, each imported only when it is asked for."""
