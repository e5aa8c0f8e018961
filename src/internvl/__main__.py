"""`python -m internvl`: the command line."""

from internvl.cli.main import main

if __name__ == "__main__":
    main()
