"""`python -m voxid` is the command line."""

from voxid.cli import main

if __name__ == "__main__":
    main()
