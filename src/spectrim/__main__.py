"""Entry point of `python -m spectrim`."""

from .cli.main import main

if __name__ == "__main__":
    main()
