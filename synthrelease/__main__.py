"""`python -m synthrelease`: the command line where its script is not on the path."""

from synthrelease.cli import main

if __name__ == "__main__":
    main()
