"""`python -m kouji` is the command `kouji`."""

from kouji.cli import main

if __name__ == "__main__":
    main()
