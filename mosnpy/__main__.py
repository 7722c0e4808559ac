"""`python -m mosnpy` is the command `mosnpy`."""

from mosnpy.cli import main

if __name__ == "__main__":
    main()
