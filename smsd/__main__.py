"""`python -m smsd` is the command `smsd`."""

from smsd.cli.main import main

if __name__ == "__main__":
    main()
