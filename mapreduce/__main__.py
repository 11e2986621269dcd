"""`python -m mapreduce` is the `mapreduce` command."""

from mapreduce.cli import main

if __name__ == "__main__":
    main()
